"""Run folders `runs/COMMAND/NAME`, each open in one process at a time."""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import shlex
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from vjepa_world.config import flatten, read_yaml, read_yaml_file, to_yaml
from vjepa_world.config.values import with_defaults, without_other_kinds
from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest
from vjepa_world.files.atomic import write_text_atomic
from vjepa_world.files.folder_lock import LOCK_FILE, locked_folder, refuse_visibly_locked
from vjepa_world.files.validation import whole_number

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"
RESULT_FILE = "result.json"

#: What most file systems take for one name [bytes].
_LONGEST_NAME = 255


class RunError(VJEPAWorldError):
    """A run folder exists where none may be, or is missing where one must be."""


@contextlib.contextmanager
def open_run(
    command: str,
    config: RunConfig,
    *,
    root: str | Path = "runs",
    folder: str | Path | None = None,
    may_change: Sequence[str] | None = None,
    outputs: Sequence[str] = (),
) -> Iterator[Path]:
    """Yield `root/command/NAME`, made new or, with `resume`, found again; no other process may open it meanwhile.

    Args:
        command: The command; also the folder's name.
        config: The command's dataclass, written as `config.yaml`. Its `name` is the run's; empty for the present date
            and time. Its `resume` continues an existing run instead of making a new one; keys that changed are logged.
        root: Where all runs live.
        folder: The run folder itself, instead of `root/command/NAME`.
        may_change: Keys, or beginnings of keys that end in a dot, that may differ from before in a resumed run; None
            for all. A command that continues from existing results names them; one that starts over does not.
        outputs: Results of the command that are removed when a run is resumed. They are removed before `config.yaml` is
            replaced, so that results never remain next to settings that did not produce them.

    Raises:
        RunError: If the run exists already, is to be resumed and does not exist, or with other settings.
        FolderInUseError: If another process has it open.
        ConfigError: If the name is not one plain folder's name.
    """
    folder = _named(Path(root) / command, config.name, config.resume) if folder is None else Path(folder)
    _check_exists(folder, config.resume)
    folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(folder):
        _check_exists(folder, config.resume)  # once more, now that nobody else makes it
        if config.resume:
            _log_changes(folder, config, may_change)
            remove_outputs(folder, outputs)
        write_text_atomic(folder / CONFIG_FILE, to_yaml(config))
        yield folder


def refuse_taken(command: str, config: RunConfig, *, root: str | Path = "runs") -> None:
    """Refuse at once, before data are read and models built, a run that `open_run` would refuse for its folder.

    Raises:
        RunError: If the run exists already, or is to be resumed and does not exist.
        FolderInUseError: If another process of this machine has it open.
        ConfigError: If the name is not one plain folder's name.
    """
    folder = _named(Path(root) / command, config.name, config.resume)
    _check_exists(folder, config.resume)
    refuse_visibly_locked(folder)


def resume_words(folder: str | Path) -> str:
    """Return what continues a run, and where it is, for the end of a message."""
    folder = Path(folder)
    return f"{shlex.quote(f'name={folder.name}')} resume=true (the run is in {folder})"


def no_such_run(folder: str | Path, *, root: str | Path = "runs") -> str:
    """Return that a folder with a run does not exist, and which ones do, in words without a full stop."""
    folder = Path(folder)
    if folder.is_file():
        return f"{folder} is a file; give the folder of a run, such as {folder.parent}"
    if folder.parent != Path():
        return f"there is no run {folder}; {_existing(folder.parent, folder.name).rstrip('.')}"
    same = sorted(str(path) for path in Path(root).glob(f"*/{glob.escape(folder.name)}") if path.is_dir())
    return f"there is no run {folder}; give the folder of one, such as {' or '.join(same) or f'{root}/evaluate/NAME'}"


def provenance(command: str, config: object) -> dict[str, Any]:
    """Return what a checkpoint records of how it was made: the command, its configuration, the versions."""
    return {
        "verb": command,
        "config": flatten(config),
        "versions": {name: version(name) for name in ("torch", "numpy")},
    }


def recorded_config(folder: str | Path) -> dict[str, Any] | None:
    """Return the configuration that a run folder records; None if the folder is not a run.

    Raises:
        ConfigError: If it cannot be read.
    """
    path = Path(folder) / CONFIG_FILE
    return read_yaml_file(path) if path.is_file() else None


def remove_outputs(folder: Path, names: Sequence[str]) -> None:
    """Remove results of an earlier run from its folder; the first ones first, and what is not there is passed over."""
    for name in names:
        _remove(folder / name)


class RunConfig(Protocol):
    """What the configuration of a command with runs has."""

    @property
    def name(self) -> str:
        """The run's name; empty for the date and time of now."""
        ...

    @property
    def resume(self) -> bool:
        """Whether to continue an existing run."""
        ...


def _named(home: Path, name: str, resume: bool) -> Path:
    if not name and resume:
        raise RunError(f"resume=true needs name=NAME, the run to continue; {_existing(home, '')}")
    name = name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if name in (".", "..") or Path(name).name != name or "\\" in name or _has_controls(name):
        raise ConfigError(
            f"name got {name!r}, expected one folder's name, without '/', '\\' and control characters: the run goes "
            f"to {home}/NAME"
        )
    if len(os.fsencode(name)) > _LONGEST_NAME:
        raise ConfigError(
            f"name has {len(os.fsencode(name))} bytes, allowed are {_LONGEST_NAME}: it becomes a folder's name"
        )
    return home / name


def _has_controls(text: str) -> bool:
    """Say whether there are control characters, or bytes that were not UTF-8."""
    return any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text)


def _check_exists(folder: Path, resume: bool) -> None:
    if resume:
        if not folder.is_dir():
            raise RunError(
                f"resume=true, but there is no run {folder}; {_existing(folder.parent, folder.name)}"
            )
    elif folder.exists() and any(path.name != LOCK_FILE for path in folder.iterdir()):
        raise RunError(
            f"the run {folder} exists already: give another name=, resume=true to continue it, or remove it"
        )


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """Return the lines of a run's `metrics.jsonl`, by rising step; none if there is no such file.

    Of a step that was logged twice the later line counts, and the half-written last line of a killed run is left out,
    like whatever else is not a finite number.
    """
    path = Path(folder) / METRICS_FILE
    lines: dict[int, dict[str, float]] = {}
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", errors="replace") as stream:
        for text in stream:
            line = _numbers_in(text)
            if "step" in line:
                lines[int(line["step"])] = line
    return [lines[step] for step in sorted(lines)]


def _numbers_in(text: str) -> dict[str, float]:
    """Return the finite numbers of a line of JSON; none where it is broken or has a step that is not one."""
    try:
        line = json.loads(text)
        whole_number(line["step"], "step", error=RunError)
    except (ValueError, KeyError, TypeError, RecursionError, RunError):
        return {}
    return {
        key: value
        for key, value in line.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
    }


def _log_changes(folder: Path, config: object, may_change: Sequence[str] | None) -> None:
    """Say which settings are others than before.

    Raises:
        RunError: If some of them may not be.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return
    new = flatten(config)
    try:
        before = read_yaml(path.read_text(encoding="utf-8"), str(path))
        # It may be of a release with fewer keys, or with those of all kinds.
        old = flatten(with_defaults(type(config), without_other_kinds(type(config), before)))
    except (ConfigError, UnicodeDecodeError) as error:
        raise RunError(f"{error} Give another name=, or remove the run.") from error
    changes = {
        key: f"{key} was {old.get(key)}, is now {new.get(key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key not in ("name", "resume")
    }
    refused = [text for key, text in changes.items() if not _may_change(key, may_change)]
    if refused:
        raise RunError(
            f"{folder} was started with other settings: {'; '.join(refused)}. Resume with the same ones, or give "
            f"another name=; where the data only moved, change its path in {path} as well."
        )
    for text in changes.values():
        logger.info("resume: %s", text)


def _may_change(key: str, allowed: Sequence[str] | None) -> bool:
    if allowed is None:
        return True
    return any(key == entry or (entry.endswith(".") and key.startswith(entry)) for entry in allowed)


def _existing(home: Path, name: str) -> str:
    runs = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return f"runs in {home}: {nearest(name, runs)}" if runs else f"{home} holds no runs"


def _remove(path: str | Path) -> None:
    """Remove a file or a folder, if it is there."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
        return
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
