"""`python -m vjepa_world.launch COMMAND -m ...`: a job, or a sweep of jobs, through one of Hydra's launchers.

The command line itself composes one configuration and has no launchers. Here Hydra reads the words, multiplies those
with several values (`-m`, commas), and gives each combination to a launcher (this machine, or Slurm through submitit),
which runs it as `vjepa-world COMMAND` does. A command's words are those of the command line, with the same quoting;
words that begin with `hydra.`, `hydra/` or `-` are Hydra's own.

Jobs of a sweep that are given one `name=NAME` are called NAME_0, NAME_1, ...; and since a job has no user
to ask, a single one whose name is taken becomes NAME_2, NAME_3, ... (the command line refuses it instead).
"""

from __future__ import annotations

import itertools
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from vjepa_world.cli.main import FAILED, PROGRAM, main
from vjepa_world.cli.shared.commands import COMMANDS, by_mode, command_module, file_name
from vjepa_world.config import config_root, launcher_words, typed_value
from vjepa_world.config.values import defaults_of
from vjepa_world.errors import ConfigError, TrainingError, VJEPAWorldError, nearest
from vjepa_world.plugins import load_plugins

logger = logging.getLogger(__name__)

_SWEEP = ("-m", "--multirun")

#: A restarted job, or one process of several, must find the folder of the first.
_KEEP_NAME = ("SLURM_JOB_ID", "SUBMITIT_EXECUTOR", "WORLD_SIZE")


def launch(command: str, words: Sequence[str]) -> None:
    """Run `command` with the command line's words, and Hydra's own.

    Raises:
        ConfigError: If it is not a command with keys, or a word is not one of its.
        TrainingError: If a job ended with an error.
    """
    import hydra
    from hydra.core.config_store import ConfigStore

    load_plugins()
    command, words = by_mode(command, words)
    jobs = [name for name, about in COMMANDS.items() if about.kind == "job"]
    if command not in jobs:
        raise ConfigError(
            f"got '{command}', expected a command with key=value words; {nearest(command, jobs)}"
        )
    schema = command_module(command).Config
    store, groups = ConfigStore.instance(), config_root() / f"{file_name(command)}.yaml"
    store.store(name="keys", node=defaults_of(schema))
    parts = ["keys", *([file_name(command)] if groups.is_file() else []), "_self_"]
    store.store(name="launch", node={"defaults": parts, "hydra": {"job": {"name": command}}})
    sys.argv[1:] = _for_hydra(file_name(command), schema, words)
    job = Job(command, several=_are_several(sys.argv[1:]))
    hydra.main(config_path=str(config_root()), config_name="launch", version_base="1.3")(job)()


def _for_hydra(command: str, schema: type, words: Sequence[str]) -> list[str]:
    """Return the words as Hydra's command line is to read them."""
    sweep = any(word in _SWEEP for word in words)
    ours = [word.lstrip("+") for word in words if not _is_hydras(word)]
    rewritten = iter(launcher_words(command, schema, ours, sweep=sweep))
    return [word if _is_hydras(word) else next(rewritten) for word in words]


def _are_several(words: Sequence[str]) -> bool:
    """Say whether a word has several values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    given = [word for word in words if "=" in word and not word.startswith("-")]
    return any(override.is_sweep_override() for override in OverridesParser.create().parse_overrides(given))


def _is_hydras(word: str) -> bool:
    return word.startswith("-") or word.lstrip("+~").startswith(("hydra.", "hydra/"))


class Job:
    """What a launcher runs, in its own process: the command, with one combination of the words.

    Args:
        command: The command.
        several: Whether there are others of the same words, and maybe the same name.
    """

    def __init__(self, command: str, several: bool = False) -> None:
        self.command, self.several = command, several

    def __call__(self, composed: object) -> None:
        """Run the command; the words are composed again, by the command's own rules.

        Raises:
            TrainingError: If it ended with an error, which it has printed.
        """
        from hydra.core.global_hydra import GlobalHydra
        from hydra.core.hydra_config import HydraConfig
        from hydra.core.singleton import Singleton

        job = HydraConfig.get()
        given = dict(_typed(job.overrides.task))
        if "SUBMITIT_EXECUTOR" in os.environ:
            from submitit.helpers import TorchDistributedEnvironment

            TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        words = self._named(given, Path(job.runtime.output_dir), job.job.num if self.several else 0)
        state = Singleton.get_state()
        GlobalHydra.instance().clear()  # the command composes by itself
        try:
            code = main([self.command, *words])
        finally:
            Singleton.set_state(state)
        if code:
            raise TrainingError(f"{PROGRAM} {self.command} {' '.join(words)} ended with {code}")

    def _named(self, given: dict[str, str], output: Path, number: int) -> list[str]:
        """Return the words with a name of the job's own, and `resume=true` where Slurm began the job again."""
        name = given.get("name") or "_".join(output.parts[-3:])
        if self.several and given.get("name"):
            name = f"{name}_{number}"
        elif given.get("resume") != "true" and not any(word in os.environ for word in _KEEP_NAME):
            name = self._free(name)
        again = (
            int(os.environ.get("SLURM_RESTART_COUNT", "0"))
            and Path("runs", file_name(self.command), name).is_dir()
        )
        words = [f"{key}={value}" for key, value in given.items() if key != "name"]
        return [*words, f"name={name}", *(["resume=true"] if again else [])]

    def _free(self, name: str) -> str:
        """Return a name that no run has: this one, or with the first number behind it that is free."""
        home, taken = Path("runs", file_name(self.command)), name
        for number in itertools.count(2):
            if not (home / name).exists():
                break
            name = f"{taken}_{number}"
        if name != taken:
            logger.warning("the run %s exists already: this one is %s", home / taken, name)
        return name


def _typed(overrides: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the keys and values that Hydra passes on, as they were typed, without the '+' that Hydra uses."""
    for word in overrides:
        key, value = word.lstrip("+").split("=", 1)
        yield key, typed_value(value)


def _start(words: Sequence[str]) -> int:
    """Launch, and return the exit code; an error is printed as one line, as the command line does."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # errors come here, and are not printed with a traceback
    try:
        launch(words[0] if words else "", words[1:])
    except (VJEPAWorldError, HydraException, OmegaConfBaseException) as error:
        sys.stderr.write(f"vjepa_world.launch: error: {error}\n")
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(_start(sys.argv[1:]))
