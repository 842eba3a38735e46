"""`vjepa-world COMMAND ...`: finds the command, hands it its configuration, and turns errors into exit codes.

A command lives in `vjepa_world/cli/COMMAND.py`: `Config`, a dataclass of its options, and `run(config)`.
The dataclass is the only place where an option is defined: `key=value` words, flags, positional arguments, YAML and
help follow from it. Nothing heavy is imported before the command is known, so that help is instant.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from vjepa_world.cli.shared.commands import COMMANDS, by_mode, command_module, config_of, help_of_command
from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return its exit code.

    0 for success, 2 for anything the user can correct (an unknown command or key, bad input, a full disk), 130 after
    Ctrl-C. An error that is a bug keeps its traceback.
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
    command, rest = words[0], words[1:]
    if command == "completion":
        return _complete(rest)
    if command not in COMMANDS:
        return _fail(PROGRAM, f"unknown command '{command}'; {nearest(command, COMMANDS)}")
    _set_up_logging()
    try:
        command, rest = by_mode(command, rest)
        return _run(command, rest)
    except KeyboardInterrupt:
        _say(f"{PROGRAM} {command}: interrupted")
        return INTERRUPTED
    except _expected_errors() as error:
        return _fail(f"{PROGRAM} {command}", str(error))
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        return _fail(
            f"{PROGRAM} {command}", f"out of memory ({reason}): ask for less at once, or use a larger machine"
        )


def _complete(words: list[str]) -> int:
    from vjepa_world.cli.shared.completion import completion

    try:
        print(completion(words))
    except ConfigError as error:
        return _fail(f"{PROGRAM} completion", str(error))
    return 0


def _run(command: str, words: list[str]) -> int:
    try:
        return _run_command(command, words)
    except ImportError:
        check_siblings()
        raise


def _run_command(command: str, words: list[str]) -> int:
    load_plugins()
    options, rest = _options(words)
    file = Path(options["--config"]) if "--config" in options else None
    if "--help" in options or "--help-all" in options:
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print(help_of_command(command, rest, file=file, everything="--help-all" in options, width=width))
        return 0
    config = config_of(command, rest, file=file)
    if "--print-config" in options:
        from vjepa_world.config import to_yaml

        print(to_yaml(config), end="")
        return 0
    command_module(command).run(config)
    return 0


def _options(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options of the command line itself, with what is given to `--config`, and the command's own words.

    Raises:
        ConfigError: If `--config` is given without a file.
    """
    options, rest, left = {}, list[str](), list(words)
    while left:
        word = left.pop(0)
        name, equals, value = word.partition("=")
        if name == "--config":
            if not equals and not left:
                raise ConfigError("--config is given without a file; give --config FILE")
            options[name] = value if equals else left.pop(0)
        elif word in ("-h", "--help", "--help-all", "--print-config"):
            options["--help" if word == "-h" else word] = ""
        elif word == "--":
            return options, [*rest, word, *left]
        else:
            rest.append(word)
    return options, rest


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Return the errors that are messages to the user; planners and envs only count once they are loaded."""
    expected: list[type[BaseException]] = [VJEPAWorldError]
    for module_name, class_name in (("planners.errors", "PlannerError"), ("envs.errors", "EnvError")):
        module = sys.modules.get(module_name)
        if module is not None:
            expected.append(getattr(module, class_name))
    return tuple(expected)


def _file_message(error: OSError) -> str | None:
    """Return a message about the user's file or disk; None where the error is more likely a bug."""
    where = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else "a file"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return (
            f"disk full while writing {where}: free some space and run again (resume=true continues the run)"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"no permission for {where}: {error.strerror}"
    if error.errno in _USERS_FAULTS:
        shown = where if len(where) <= _LONGEST_SHOWN else f"{where[:_LONGEST_SHOWN]}..."
        return f"cannot use {shown}: {error.strerror}"
    return None


def _is_out_of_memory(error: BaseException) -> bool:
    """Say whether an error means that memory ran out: Python's, a graphics card's, or torch's on the processor.

    The last of them is a plain RuntimeError, recognised by its text.
    """
    known = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return known or "DefaultCPUAllocator" in str(error)


def _help_text() -> str:
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:<{width}}  {command.description}" for name, command in COMMANDS.items())
    return (
        f"usage: {PROGRAM} COMMAND ...\n\n"
        "Learn a world model from video, then plan with it.\n\n"
        f"{table}\n\n"
        f"`{PROGRAM} COMMAND --help` lists the keys of a command, given as key=value or --key value\n"
        f"({PROGRAM} pretrain model=vit_tiny data.path=FOLDER name=first trainer.steps=500);\n"
        "name=X puts the run in runs/COMMAND/X, resume=true continues it.\n"
        f"`{PROGRAM} completion bash` (or zsh, fish) prints what completes words in a shell."
    )


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
