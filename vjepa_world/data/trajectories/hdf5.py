"""HDF5 files through h5py, an optional dependency: opened for one read and closed again, faults named by file.

Nothing stays open in between, so a dataset can be sent or forked to any number of processes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vjepa_world.errors import DataError

_SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do."""
    if not path.is_file():
        return False
    with open(path, "rb") as stream:
        return stream.read(len(_SIGNATURE)) == _SIGNATURE


@contextmanager
def open_hdf5(file: Path, where: str) -> Iterator[Any]:
    """Open a file for reading; give its `h5py.File`.

    Args:
        file: The file.
        where: What is read there, for messages: the file, and the episode.

    Raises:
        DataError: h5py is not installed, or the file is missing, truncated or damaged.
    """
    h5py = _h5py()
    if not file.is_file():
        raise DataError(f"{where}: {file} is missing. Copy the dataset whole.")
    try:
        # Read-only and network file systems may not lock.
        with h5py.File(file, "r", locking="best-effort") as opened:
            yield opened
    except (OSError, RuntimeError, KeyError) as error:
        raise DataError(
            f"{where}: {file} cannot be read as HDF5 ({error}): it is truncated, damaged or something else. Copy it "
            "again."
        ) from error


def is_group(group: Any, name: str) -> bool:
    """Whether a group holds a group of that name."""
    return isinstance(group.get(name), _h5py().Group)


def has_dataset(group: Any, name: str) -> bool:
    """Whether a group holds an array of that name (a path in it)."""
    return isinstance(group.get(name), _h5py().Dataset)


def read_array(group: Any, name: str, where: str) -> np.ndarray:
    """Return an array of a group.

    Raises:
        DataError: There is none of that name; those that are there are listed.
    """
    if not has_dataset(group, name):
        raise DataError(
            f"{where} has no '{name}'; it has: {', '.join(array_names(group)) or 'nothing'}. Copy the dataset "
            "again, or choose another name."
        )
    return np.asarray(group[name])


def array_names(group: Any) -> list[str]:
    """Return the paths of all arrays below a group, in order of their names."""
    dataset_class = _h5py().Dataset
    found: list[str] = []

    def visit(name: str | bytes, item: Any) -> None:
        # A name in a damaged file may be no text; then it is not one that can be asked for.
        if isinstance(name, str) and isinstance(item, dataset_class):
            found.append(name)

    group.visititems(visit)
    return found


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            "Reading HDF5 files needs h5py, which is not installed: pip install 'vjepa-world[hdf5]'"
        ) from error
    return h5py
