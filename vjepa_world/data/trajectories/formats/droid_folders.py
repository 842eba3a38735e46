"""Finds the trajectory folders of DROID recordings: below a folder, or in a list."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path

from vjepa_world.data.corpus.folders import WalkLog, walk
from vjepa_world.data.corpus.tables import check_columns, first_lines, possible_cells, read_table
from vjepa_world.errors import DataError

logger = logging.getLogger(__name__)

_NUMBERS = "trajectory.h5"
_LISTS = (".csv", ".txt")
_LINES = 20  # of a list, which are examined to recognise it
_MOST_FOLDERS = 2000  # that are searched before giving up: a video corpus may have millions


def is_droid(path: Path) -> bool:
    """Return whether a path is a folder with a trajectory below it, or a list whose first lines name one."""
    if path.is_dir():
        return next(_below(path, most_folders=_MOST_FOLDERS), None) is not None
    if path.suffix.lower() not in _LISTS or not path.is_file():
        return False
    cells = (cell for line in first_lines(path, _LINES) for cell in possible_cells(line))
    return any(_is_folder(cell, path) and (_folder(cell, path) / _NUMBERS).is_file() for cell in cells)


def find_trajectories(path: Path) -> list[Path]:
    """Return the trajectory folders, sorted by path, or in the order of a list.

    Raises:
        DataError: There is none, or the list cannot be read.
    """
    if path.is_dir():
        walked = WalkLog()
        found = sorted(_below(path, walked=walked))
        for _, reason in walked.unreadable:
            logger.warning("Skipped: %s", reason)
    else:
        table = read_table(path, ("path",), lambda cell: _is_folder(cell, path), more_cells=True)
        check_columns(
            table, ("path",), "Its first line names no existing folder: correct it, or write 'path'."
        )
        found = [_folder(row, path) for row in table.columns["path"].to_pylist()]
    if not found:
        raise DataError(f"{path} has no folder with a {_NUMBERS}. Give a DROID folder, or a list of them.")
    return found


def _is_folder(cell: str, path: Path) -> bool:
    try:
        return bool(cell) and _folder(cell, path).is_dir()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False


def _folder(cell: str, path: Path) -> Path:
    return path.parent / cell.strip("\"'")


def _below(root: Path, most_folders: int | None = None, walked: WalkLog | None = None) -> Iterator[Path]:
    for folder, folders, files in itertools.islice(walk(root, walked), most_folders):
        if _NUMBERS in files:
            folders.clear()
            yield Path(folder)
