"""HDF5 files through h5py, an optional dependency: opened for one read and closed again, faults named by file.

Nothing stays open in between, so a dataset can be sent or forked to any number of processes.

HDF5 can name other files: links that lead into them, arrays whose bytes or parts lie there. A file from elsewhere could
so make anything on this machine a part of itself, hence none of these is followed: all arrays lie in the file itself.
And it can declare any shape without storing it: what is read is bounded by what is stored.
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
_MOST_LINKS = 16  # that lead from one to the next
_MOST_LEVELS = 32  # of groups in groups

#: What an array may have beyond what is stored of it: zeros that were never written.
_FREE_BYTES = 4 << 20
#: How many bytes a stored one may be unpacked to: more than deflate can, and without compression a few (of chunks at
#: the edge, or that were never written).
_COMPRESSED, _PLAIN = 1100, 4

#: What h5py raises on damaged files.
_H5PY_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, MemoryError)


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 files do, or has their signature behind a user block of 512, 1024, ... bytes."""
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
        raise _damaged(where, f"{file} cannot be read as HDF5 ({error})") from error


@contextmanager
def _reading(where: str, name: str) -> Iterator[None]:
    """Turn what h5py raises of damaged content into our error."""
    try:
        yield
    except _H5PY_ERRORS as error:
        raise _damaged(where, f"'{name}' cannot be read as HDF5 ({short(str(error), 200)})") from error


def _damaged(where: str, what: str) -> DataError:
    return DataError(f"{where}: {what}: it is truncated, damaged or something else. Copy it again.")


def find(group: Any, name: str, where: str) -> Any:
    """Return what a group holds under a path of names, an `h5py.Group` or `h5py.Dataset`; None where there is nothing.

    Raises:
        DataError: A link on the way leads into another file, or in a circle; or the file is damaged.
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
    """Whether a group holds a group of that name.

    Raises:
        DataError: As `find`.
    """
    return isinstance(find(group, name, where), _h5py().Group)


def names_in(group: Any, where: str) -> list[str]:
    """Return the names in a group.

    Raises:
        DataError: The file is damaged.
    """
    with _reading(where, str(group.name)):
        # A name in a damaged file may be no text; then it is not one that can be asked for.
        return [name for name in group if isinstance(name, str)]


def attribute(item: Any, name: str, where: str) -> Any:
    """Return an attribute of a group or an array; None where there is none.

    Raises:
        DataError: The file is damaged.
    """
    with _reading(where, name):
        return item.attrs.get(name)


def has_dataset(group: Any, name: str, where: str) -> bool:
    """Whether a group holds an array of that name (a path in it).

    Raises:
        DataError: As `find`.
    """
    return isinstance(find(group, name, where), _h5py().Dataset)


def open_array(group: Any, name: str, where: str) -> Any:
    """Return an `h5py.Dataset` of a group, all of whose numbers lie in the file itself.

    Raises:
        DataError: There is none of that name (those that are there are listed); it lies in other files, wholly or in
            part; or it declares more than is stored.
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
    """Refuse an array whose numbers lie in other files, or that declares more than is stored."""
    with _reading(where, name):
        if dataset.external or dataset.is_virtual:
            raise DataError(
                f"{where}: the numbers of '{name}' lie in other files, or are put together from other arrays, which is "
                "not followed. Copy them into the file."
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
    """Return an array of a group.

    Raises:
        DataError: As `open_array`, or its bytes are damaged.
    """
    dataset = open_array(group, name, where)
    with _reading(where, name):
        return np.asarray(dataset[()])


def read_rows(dataset: Any, rows: slice, where: str) -> np.ndarray:
    """Return rows of an array from `open_array`.

    Raises:
        DataError: Its bytes are damaged.
    """
    with _reading(where, str(dataset.name)):
        return np.asarray(dataset[rows])


@dataclass(frozen=True)
class Listing:
    """What lies below a group.

    Attributes:
        arrays: All arrays that lie in the file by their paths, in order of these, each an `h5py.Dataset` that is good
            while the file is open.
        elsewhere: What cannot be followed, with the reason, by its path.
    """

    arrays: dict[str, Any] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)


def list_arrays(group: Any, where: str, *, skipped: Collection[str] = ()) -> Listing:
    """Return what lies below a group, but for those names in it. A group that is there twice is looked into once.

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
    place = int(h5py.h5o.get_info(group.id).addr)
    if place in seen or prefix.count("/") > _MOST_LEVELS:
        return
    seen.add(place)
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
    """Return the arrays with a number or a vector in each row, and why others are none, both by name.

    Args:
        listing: What a group holds.
        used: Arrays that are something else.
        rows: Of the episode.
        where: For messages.

    Raises:
        DataError: One lies in another file, declares more than is stored, or is damaged.
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
