"""Reads HDF5 files from untrusted sources with h5py, an optional dependency; each file is open only while it is read.

So a dataset can be sent or forked to any number of processes.

HDF5 files can refer to other files by links and external arrays, and so include any file of this machine; such
references are not followed. They can also declare large arrays without storing them; the size that is read is bounded
by the stored size.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from vjepa_world.errors import DataError
from vjepa_world.files.validation import short

_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_MOST_LINKS = 16  # in a chain
_MOST_LEVELS = 32  # of nested groups

#: Bytes that an array may declare in addition to the stored ones: zeros that were never written.
_FREE_BYTES = 4 << 20
#: Largest ratio of declared to stored bytes: more than deflate reaches; a small one without compression (incomplete
#: chunks at the edges).
_COMPRESSED, _PLAIN = 1100, 4

#: What h5py raises on damaged files.
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def is_hdf5(path: Path) -> bool:
    """Return whether a file has the HDF5 signature at its start, or after a user block of 512, 1024, ... bytes."""
    if not path.is_file():
        return False
    size, at = path.stat().st_size, 0
    with open(path, "rb") as stream:
        while at < size:
            stream.seek(at)
            if stream.read(len(_SIGNATURE)) == _SIGNATURE:
                return True
            at = max(512, 2 * at)
    return False


@contextmanager
def open_hdf5(file: Path, where: str) -> Iterator[Any]:
    """Open a file for reading; yield its `h5py.File`.

    Args:
        file: The file.
        where: The file and the episode, for messages.

    Raises:
        DataError: h5py is not installed, or the file is missing, truncated or damaged.
    """
    h5py = _h5py()
    if not file.is_file():
        raise DataError(f"{where}: {file} is missing. Copy the dataset whole.")
    try:
        # Read-only and network file systems may not support locks.
        with h5py.File(file, "r", locking="best-effort") as opened:
            yield opened
    except (OSError, RuntimeError, KeyError) as error:
        raise _damaged(where, f"{file} cannot be read as HDF5 ({error})") from error


@contextmanager
def _reading(where: str, name: str) -> Iterator[None]:
    """Turn h5py's errors about damaged content into ours."""
    try:
        yield
    except _H5PY_ERRORS as error:
        raise _damaged(where, f"'{name}' cannot be read as HDF5 ({short(str(error), 200)})") from error


def _damaged(where: str, what: str) -> DataError:
    return DataError(f"{where}: {what}: it is truncated, damaged or something else. Copy it again.")


def find(group: Any, name: str, where: str) -> Any:
    """Return the `h5py.Group` or `h5py.Dataset` at a path in a group; None if there is none.

    Raises:
        DataError: A link on the path leads into another file or in a circle, or the file is damaged.
    """
    with _reading(where, name):
        return _find(group, name, where, _MOST_LINKS)


def _find(group: Any, name: str, where: str, links: int) -> Any:
    h5py = _h5py()
    here = group.file["/"] if name.startswith("/") else group
    for part in name.split("/"):
        if part in ("", "."):
            continue
        link = here.get(part, getlink=True) if isinstance(here, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise DataError(
                f"{where}: {short(name, 200)} is a link into another file, {short(link.filename, 200)}. Links out of "
                "a dataset are not followed: copy the array into the file."
            )
        if isinstance(link, h5py.SoftLink):
            if not links:
                raise DataError(
                    f"{where}: links lead in a circle at {short(name, 200)}. Copy the file again."
                )
            here = _find(here, link.path, where, links - 1)
        else:
            here = here[part]
        if here is None:
            return None
    return here


def is_group(group: Any, name: str, where: str) -> bool:
    """Return whether a group has a group of that name.

    Raises:
        DataError: As `find`.
    """
    return isinstance(find(group, name, where), _h5py().Group)


def names_in(group: Any, where: str) -> list[str]:
    """Return the names of a group's members.

    Raises:
        DataError: The file is damaged.
    """
    with _reading(where, str(group.name)):
        # In a damaged file a name may not be text; it cannot be accessed then.
        return [name for name in group if isinstance(name, str)]


def attribute(item: Any, name: str, where: str) -> Any:
    """Return an attribute of a group or an array; None if there is none.

    Raises:
        DataError: The file is damaged.
    """
    with _reading(where, name):
        return item.attrs.get(name)


def has_dataset(group: Any, name: str, where: str) -> bool:
    """Return whether a group has an array of that name (a path in it).

    Raises:
        DataError: As `find`.
    """
    return isinstance(find(group, name, where), _h5py().Dataset)


def open_array(group: Any, name: str, where: str) -> Any:
    """Return an `h5py.Dataset` of a group, after checking that the file itself stores it.

    Raises:
        DataError: There is none of that name (all names are listed), it is stored in other files, or it declares much
            more than is stored.
    """
    dataset = find(group, name, where)
    if not isinstance(dataset, _h5py().Dataset):
        known = ", ".join(list(list_arrays(group, where).arrays)[:100])
        raise DataError(
            f"{where} has no '{name}'; it has: {known or 'nothing'}. Copy the dataset again, or choose another name."
        )
    _check_dataset(dataset, name, where)
    return dataset


def _check_dataset(dataset: Any, name: str, where: str) -> None:
    """Refuse an array that is stored in other files, or declares much more than is stored."""
    with _reading(where, name):
        if dataset.external or dataset.is_virtual:
            raise DataError(
                f"{where}: the numbers of '{name}' lie in other files, or are composed of other arrays, which is not "
                "followed. Copy them into the file."
            )
        _check_size(dataset, name, where)


def _check_size(dataset: Any, name: str, where: str) -> None:
    size = math.prod(dataset.shape or (0,)) * dataset.dtype.itemsize
    stored = min(dataset.id.get_storage_size(), dataset.file.id.get_filesize())
    factor = _COMPRESSED if dataset.id.get_create_plist().get_nfilters() else _PLAIN
    if size > _FREE_BYTES + factor * stored:
        raise DataError(
            f"{where}: '{name}' declares {dataset.dtype} of shape {dataset.shape}, {size} bytes, and the file holds "
            f"{stored} of it. Most of it was never written, or the file is damaged: copy it again."
        )


def read_array(group: Any, name: str, where: str) -> np.ndarray:
    """Return an array of a group, of any shape.

    Raises:
        DataError: As `open_array`, or its bytes are damaged.
    """
    dataset = open_array(group, name, where)
    with _reading(where, name):
        return np.asarray(dataset[()])


def read_rows(dataset: Any, rows: slice, where: str) -> np.ndarray:
    """Return rows `[n, ...]` of an array `[T, ...]` from `open_array`.

    Raises:
        DataError: Its bytes are damaged.
    """
    with _reading(where, str(dataset.name)):
        return np.asarray(dataset[rows])


@dataclass(frozen=True)
class Listing:
    """All arrays below a group.

    Attributes:
        arrays: `h5py.Dataset` by path, sorted; valid while the file is open.
        elsewhere: Reason by path, of links that are not followed.
    """

    arrays: dict[str, Any] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)


def list_arrays(group: Any, where: str, *, skipped: Collection[str] = ()) -> Listing:
    """Return all arrays below a group, without its members `skipped`. A group with several names is searched once.

    Raises:
        DataError: The file is damaged.
    """
    found = Listing()
    with _reading(where, str(group.name)):
        _list_into(found, group, "", where, set(), skipped)
    return found


def _list_into(
    found: Listing, group: Any, prefix: str, where: str, seen: set[int], skipped: Collection[str] = ()
) -> None:
    h5py = _h5py()
    address = int(h5py.h5o.get_info(group.id).addr)
    if address in seen or prefix.count("/") > _MOST_LEVELS:
        return
    seen.add(address)
    for name in sorted(name for name in group if isinstance(name, str) and name not in skipped):
        try:
            item = _find(group, name, where, _MOST_LINKS)
        except DataError:
            found.elsewhere[prefix + name] = "a link into another file, or in a circle"
            continue
        if isinstance(item, h5py.Dataset):
            found.arrays[prefix + name] = item
        elif isinstance(item, h5py.Group):
            _list_into(found, item, f"{prefix}{name}/", where, seen)


def row_columns(
    listing: Listing, used: Collection[str], rows: int, where: str
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays with a number or a vector for each row, and the reasons for those left out, by name.

    Args:
        listing: The arrays of an episode's group.
        used: Names of arrays with another purpose.
        rows: Number of rows of the episode.
        where: The file and the episode, for messages.

    Returns:
        Arrays `[rows]` or `[rows, K]`, and the reason for each array that is left out.

    Raises:
        DataError: One is stored in another file, declares much more than is stored, or is damaged.
    """
    columns: dict[str, np.ndarray] = {}
    left_out = dict(listing.elsewhere)
    for name, dataset in listing.arrays.items():
        if name in used:
            continue
        _check_dataset(dataset, name, where)
        shape, dtype = dataset.shape or (), dataset.dtype
        what = f"{dtype} {list(shape)}"
        if dtype.kind not in "fiub":
            left_out[name] = f"{what}: no numbers"
        elif shape[:1] != (rows,):
            left_out[name] = f"{what}: not one entry for each of {rows} rows"
        elif len(shape) > 2:
            left_out[name] = f"{what}: more than a vector in each row"
        else:
            columns[name] = read_rows(dataset, slice(None), where)
    return columns, left_out


def _h5py() -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            "Reading HDF5 files needs h5py, which is not installed: pip install 'vjepa-world[hdf5]'"
        ) from error
    return h5py
