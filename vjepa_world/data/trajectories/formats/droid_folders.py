"""Finds the trajectory folders of a DROID recording: below a folder, or in a list of them."""

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
_LINES = 20  # of a list, by which it is known
_LOOKED_INTO = 2000  # folders, before one is taken for something else: a video corpus may have millions


def is_droid(path: Path) -> bool:
    """Whether it is a folder with a trajectory below it, or a list that names a folder with one near its beginning."""
    if path.is_dir():
        return next(_below(path, most_folders=_LOOKED_INTO), None) is not None
    if path.suffix.lower() not in _LISTS or not path.is_file():
        return False
    cells = (cell for line in first_lines(path, _LINES) for cell in possible_cells(line))
    return any(_is_folder(cell, path) and (_folder(cell, path) / _NUMBERS).is_file() for cell in cells)


def find_trajectories(path: Path) -> list[Path]:
    """Return the trajectory folders, in order of their paths, or as a list has them.

    Raises:
        DataError: There is none, or a list cannot be read.
    """
    if path.is_dir():
        walked = WalkLog()
        found = sorted(_below(path, walked=walked))
        for _, reason in walked.unreadable:
            logger.warning("Skipped: %s", reason)
    else:
        table = read_table(path, ("path",), lambda cell: _is_folder(cell, path), more_cells=True)
        check_columns(
            table, ("path",), "Its first line names no folder that is there: correct it, or write 'path'."
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
