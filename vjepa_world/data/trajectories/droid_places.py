"""Finds the trajectory folders of a DROID recording: below a folder, or in a list of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from vjepa_world.errors import DataError

_NUMBERS = "trajectory.h5"
_LISTS = (".csv", ".txt")
_LOOKED_INTO = 2000  # folders, before one is taken for something else: a video corpus may have millions


def is_droid(path: Path) -> bool:
    """Whether it is a folder with a trajectory below it, or a list whose first line names a folder with one."""
    if path.is_dir():
        return next(_below(path, most_folders=_LOOKED_INTO), None) is not None
    if path.suffix.lower() not in _LISTS or not path.is_file():
        return False
    with open(path, encoding="utf-8", errors="replace") as stream:
        first = next((line for line in stream if line.strip()), "")
    return bool(first) and (_folder(first, path) / _NUMBERS).is_file()


def find_trajectories(path: Path) -> list[Path]:
    """Return the trajectory folders, in order of their paths, or as a list has them.

    Raises:
        DataError: There is none.
    """
    if path.is_dir():
        found = sorted(_below(path))
    else:
        try:
            lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError as error:
            raise DataError(
                f"{path} cannot be read ({error.strerror}). Give a DROID folder or list."
            ) from error
        found = [_folder(line, path) for line in lines if line.strip()]
    if not found:
        raise DataError(f"{path} has no folder with a {_NUMBERS}. Give a DROID folder, or a list of them.")
    return found


def _folder(line: str, path: Path) -> Path:
    """Return the folder that a line names: all of it, or its first column where a label follows."""
    whole = path.parent / line.strip().strip("\"'")
    if whole.is_dir():
        return whole
    return path.parent / line.strip().split(",")[0].split(" ")[0].strip("\"'")


def _below(root: Path, most_folders: int | None = None) -> Iterator[Path]:
    for folder, folders, files in itertools.islice(os.walk(root), most_folders):
        folders.sort()
        if _NUMBERS in files:
            folders.clear()
            yield Path(folder)
