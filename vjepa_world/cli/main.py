"""`vjepa-world VERB ...`: finds the verb, hands it its configuration, and turns errors into exit codes.

A verb lives in `vjepa_world/cli/VERB.py` and is one of two kinds:

- a *job* takes Hydra overrides: `Config`, a dataclass, and `run(config: Config) -> None`;
- a *file* verb takes ordinary arguments: `build_parser() -> argparse.ArgumentParser` and
  `run(arguments: argparse.Namespace) -> None`.

Nothing heavy is imported before the verb is known, so that help is instant.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

from vjepa_world.errors import VJEPAWorldError, nearest
from vjepa_world.plugins import load_plugins
from vjepa_world.system.packages import check_siblings
from vjepa_world.system.streams import lost_reader, open_standard_streams, silence_broken_streams

PROGRAM = "vjepa-world"
FAILED = 2
INTERRUPTED = 130
CLOSED_PIPE = 141

#: Errors of the operating system that are about a path or a disk which the user gave.
_USERS_FAULTS = (
    errno.ENAMETOOLONG,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.EIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.EFBIG,
)
_LONGEST_SHOWN = 100


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes:
        description: One line for the table of `--help`.
        kind: `job` takes `key=value` words, `file` takes ordinary arguments.
        example: What may follow the verb.
        bare_key: For a job, the key that a first word without `=` stands for.
    """

    description: str
    kind: Literal["job", "file"]
    example: str
    bare_key: str = ""


VERBS = {
    "collect": Verb("record episodes of the arm as a LeRobot dataset", "job", "name=first episodes=100"),
    "pretrain": Verb("train a video encoder on unlabeled clips", "job", "data.path=FOLDER name=first"),
    "finetune": Verb(
        "train the action-conditioned predictor on a frozen encoder", "job", "data.path=FOLDER name=first"
    ),
    "plan": Verb("plan the actions from a picture to a goal picture", "file", "--help"),
    "evaluate": Verb(
        "drive the arm to goal images in the simulator and count successes",
        "job",
        "checkpoint=FOLDER name=first",
    ),
    "evaluate-open-loop": Verb(
        "measure a world model on recorded episodes, without a simulator",
        "job",
        "checkpoint=FOLDER data.path=DATASET name=first",
    ),
    "probe": Verb(
        "measure what a frozen encoder's features tell of labelled videos",
        "job",
        "encoder=FOLDER data.path=FOLDER name=first",
    ),
    "predict": Verb("print the classes of a video, or its numbers", "file", "VIDEO --probe FOLDER"),
    "inspect": Verb("describe videos, trajectories or a checkpoint, and what looks wrong", "file", "PATH"),
    "report": Verb("draw a run's curves, masks and features into one HTML file", "file", "RUN"),
    "compare": Verb(
        "measure what several encoders tell of unseen scenes, side by side", "file", "RUN RUN ..."
    ),
    "convert": Verb(
        "convert a checkpoint between formats, or trajectories to LeRobot v3.0", "file", "SOURCE DESTINATION"
    ),
    "demo": Verb("watch the shipped model reach goal images", "job", ""),
    "bench": Verb("measure speed beside a baseline and the machine's limit", "job", "NAME", bare_key="bench"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code.

    0 for success, 2 for anything the user can mend (an unknown verb or key, bad input, a full disk),
    130 after Ctrl-C. An error that is nobody's input keeps its traceback.
    """
    open_standard_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = _answer(words)
        sys.stdout.flush()
        return code
    except OSError as error:
        if lost_reader(error):
            silence_broken_streams()
            return CLOSED_PIPE
        message = _file_message(error)
        if message is None:
            raise
        return _fail(" ".join([PROGRAM, *words[:1]]), message)


def _answer(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_help_text())
        return 0
    if words[0] in ("-V", "--version", "version"):
        print(f"{PROGRAM} {_version()}")
        return 0
    if any("\0" in word for word in words):
        return _fail(PROGRAM, "a word has a NUL character, which no name and no text may have")
    verb, rest = words[0], words[1:]
    if verb not in VERBS:
        return _fail(PROGRAM, f"unknown verb '{verb}'; {nearest(verb, VERBS)}")
    _set_up_logging()
    try:
        return _run(verb, rest)
    except KeyboardInterrupt:
        _say(f"{PROGRAM} {verb}: interrupted")
        return INTERRUPTED
    except _expected_errors() as error:
        return _fail(f"{PROGRAM} {verb}", str(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        return _fail(
            f"{PROGRAM} {verb}", f"out of memory ({reason}): ask for less at once, or use a larger machine"
        )


def _run(verb: str, words: list[str]) -> int:
    try:
        return _run_verb(verb, words)
    except ImportError:
        check_siblings()
        raise


def _run_verb(verb: str, words: list[str]) -> int:
    load_plugins()
    module = verb_module(verb)
    if VERBS[verb].kind == "file":
        parser = module.build_parser()
        parser.prog = f"{PROGRAM} {verb}"
        try:
            arguments = parser.parse_args(words)
        except SystemExit as end:  # it has said why
            return end.code if isinstance(end.code, int) else FAILED
        module.run(arguments)
        return 0

    from vjepa_world.config import compose, describe

    if any(word in ("-h", "--help") for word in words):
        print(_job_help(verb, describe(file_name(verb), module.Config)))
        return 0
    module.run(compose(file_name(verb), module.Config, job_overrides(verb, words)))
    return 0


def verb_module(verb: str) -> ModuleType:
    """Return the module of a verb."""
    return importlib.import_module(f"vjepa_world.cli.{file_name(verb)}")


def file_name(verb: str) -> str:
    """Return how a verb's files are named: its module, its YAML and the folder of its runs."""
    return verb.replace("-", "_")


def job_overrides(verb: str, words: Sequence[str]) -> list[str]:
    """Return a job's words with a first bare word, where the verb allows one, spelled `key=word`."""
    bare_key = VERBS[verb].bare_key
    if bare_key and words and "=" not in words[0]:
        return [f"{bare_key}={words[0]}", *words[1:]]
    return list(words)


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Return the errors that are messages to the user; planners and envs only count once they are loaded."""
    expected: list[type[BaseException]] = [VJEPAWorldError]
    for module_name, class_name in (("planners.errors", "PlannerError"), ("envs.errors", "EnvError")):
        module = sys.modules.get(module_name)
        if module is not None:
            expected.append(getattr(module, class_name))
    return tuple(expected)


def _file_message(error: OSError) -> str | None:
    """Return what is wrong with the user's file or disk; None where the error is more likely a bug."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"disk full while writing {where}: free some space and run again (resume=true goes on)"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for {where}: {error.strerror}"
    if error.errno in _USERS_FAULTS:
        shown = where if len(where) <= _LONGEST_SHOWN else f"{where[:_LONGEST_SHOWN]}..."
        return f"cannot use {shown}: {error.strerror}"
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Say whether Python, a graphics card or, which has no class of its own, torch's processor memory has no more."""
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "DefaultCPUAllocator" in str(error)


def _help_text() -> str:
    width = max(map(len, VERBS))
    table = "\n".join(f"  {name:<{width}}  {verb.description}" for name, verb in VERBS.items())
    return (
        f"usage: {PROGRAM} VERB ...\n\n"
        "Learn a world model from video, then plan with it.\n\n"
        f"{table}\n\n"
        f"`{PROGRAM} VERB --help` shows what a verb takes. Jobs take key=value words\n"
        f"({PROGRAM} pretrain model=vit_tiny data.path=FOLDER name=first trainer.steps=500);\n"
        "name=X puts the run in runs/VERB/X, resume=true goes on with it."
    )


def _job_help(verb: str, keys: str) -> str:
    about = VERBS[verb]
    return f"usage: {PROGRAM} {verb} {about.example}".rstrip() + f"\n\n{about.description}\n\n{keys}"


def _version() -> str:
    from vjepa_world import __version__

    return __version__


def _set_up_logging() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("vjepa_world", "planners", "envs"):
        logging.getLogger(name).setLevel(logging.INFO)


def _fail(who: str, message: str) -> int:
    _say(f"{who}: error: {message}")
    return FAILED


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # nobody may read it any more
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
