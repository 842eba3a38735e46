"""Run folders `runs/VERB/NAME`, and files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from vjepa_world.config import flatten, to_yaml
from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest

logger = logging.getLogger(__name__)

CONFIG_FILE = "config.yaml"
METRICS_FILE = "metrics.jsonl"


class RunError(VJEPAWorldError):
    """A run folder exists where none may be, or is missing where one must be."""


def run_folder(verb: str, name: str, resume: bool, root: str | Path = "runs", config: object = None) -> Path:
    """Return `root/verb/name`, made new, or found again with `resume`.

    Args:
        verb: The verb; also the folder's name.
        name: The run's name; empty for the date and time of now.
        resume: Go on in an existing run instead of making a new one.
        root: Where all runs live.
        config: The verb's dataclass, written as `config.yaml`; on `resume`, keys that changed are logged.

    Raises:
        RunError: If the run exists already, or is to be resumed and does not.
        ConfigError: If the name is not one plain folder's name.
    """
    home = Path(root) / verb
    if not name and resume:
        raise RunError(f"resume=true needs name=NAME, the run to go on with; {_existing(home, '')}")
    name = name or datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    if name in (".", "..") or Path(name).name != name or "\\" in name:
        raise ConfigError(
            f"name got '{name}', expected one folder's name without '/': the run goes to {home}/NAME"
        )
    folder = home / name
    if resume:
        if not folder.is_dir():
            raise RunError(f"resume=true, but there is no run {folder}; {_existing(home, name)}")
    elif folder.exists() and any(folder.iterdir()):
        raise RunError(
            f"the run {folder} exists already: give another name=, resume=true to go on with it, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    if config is not None:
        _write_config(folder, config)
    return folder


def read_metrics(folder: str | Path) -> list[dict[str, float]]:
    """Return the lines of a run's `metrics.jsonl`, by rising step; none if there is no such file.

    Of a step that was logged twice the later line counts, and the half-written last line of a killed run is left out.
    """
    path = Path(folder) / METRICS_FILE
    lines: dict[int, dict[str, float]] = {}
    for text in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            line = json.loads(text)
            lines[int(line["step"])] = line
        except (ValueError, KeyError, TypeError):
            continue
    return [lines[step] for step in sorted(lines)]


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a text file so that a reader, or a crash, sees the old file or the new one, never half.

    Raises:
        OSError: If the disk is full or the folder cannot be written; the old file is left as it was.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        _remove(temporary)
        # A failed write does not say which file it was about.
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        _remove(temporary)
        raise


def write_json_atomic(path: str | Path, data: Any) -> None:
    """Write JSON as `write_text_atomic` does; dataclasses are written as objects.

    Raises:
        ValueError: If a number is not finite: JSON has no word for it.
    """
    plain = (
        dataclasses.asdict(data) if dataclasses.is_dataclass(data) and not isinstance(data, type) else data
    )
    write_text_atomic(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def _write_config(folder: Path, config: object) -> None:
    path = folder / CONFIG_FILE
    if path.is_file():
        from omegaconf import OmegaConf

        before = OmegaConf.to_container(OmegaConf.load(path))
        old, new = flatten(before), flatten(config)
        for key in sorted(old.keys() | new.keys()):
            if old.get(key) != new.get(key) and key != "resume":
                logger.info("resume: %s was %s, is now %s", key, old.get(key), new.get(key))
    write_text_atomic(path, to_yaml(config))


def _existing(home: Path, name: str) -> str:
    runs = [path.name for path in home.iterdir() if path.is_dir()] if home.is_dir() else []
    return f"runs in {home}: {nearest(name, runs)}" if runs else f"{home} holds no runs"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
