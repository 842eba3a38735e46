"""Arrays of an npz file one by one: mapped from the file where they are stored plainly, else unpacked once.

`np.savez` stores plainly, `np.savez_compressed` does not.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.errors import DataError

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    ValueError,
    struct.error,
    NotImplementedError,
)
_LOCAL_HEADER = 30  # bytes before an entry's name
_LENGTHS_AT = 26  # of name and extra field, two bytes each


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None  # of the numbers in the file; None where they are compressed


class NpzFile:
    """The arrays of an npz file; sent to another process, it reads them there anew.

    Args:
        path: The file.

    Raises:
        DataError: It is missing, truncated or no npz file, or has arrays of objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._arrays: dict[str, np.ndarray] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                self._entries = {
                    info.filename.removesuffix(".npy"): _entry(path, archive, info)
                    for info in archive.infolist()
                    if info.filename.endswith(".npy")
                }
        except _ZIP_ERRORS as error:
            raise DataError(f"{path} cannot be read as npz ({error}). Copy it again.") from error

    @property
    def names(self) -> list[str]:
        """Names of the arrays."""
        return list(self._entries)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return an array's shape, without reading it."""
        return self._entries[name].shape

    def dtype(self, name: str) -> np.dtype:
        """Return an array's type, without reading it."""
        return self._entries[name].dtype

    def is_mapped(self, name: str) -> bool:
        """Whether an array stays in the file."""
        return self._entries[name].offset is not None

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array, read only.

        Raises:
            DataError: Its bytes are damaged.
        """
        if name not in self._arrays:
            entry = self._entries[name]
            try:
                if entry.offset is not None:
                    found: np.ndarray = np.memmap(self.path, entry.dtype, "r", entry.offset, entry.shape)
                else:
                    with np.load(self.path, allow_pickle=False) as archive:
                        found = archive[name]
            except _ZIP_ERRORS as error:
                raise DataError(
                    f"{self.path}: array '{name}' is damaged ({error}). Copy it again."
                ) from error
            self._arrays[name] = found
        return self._arrays[name]

    def close(self) -> None:
        """Let go of all arrays; asked for again, they are read again."""
        self._arrays.clear()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}


def _entry(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"array '{info.filename}' holds Python objects")
    bytes_needed = header + int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if bytes_needed > info.file_size:
        raise ValueError(f"array '{info.filename}' needs {bytes_needed} bytes and has {info.file_size}")
    plain = (
        info.compress_type == zipfile.ZIP_STORED
        and not (by_columns and len(shape) > 1)
        and shape
        and all(shape)
    )
    return _Entry(shape, dtype, _data_offset(path, info) + header if plain else None)


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return where an entry's bytes begin: after its local header, of which the directory does not know the size."""
    with open(path, "rb") as stream:
        stream.seek(info.header_offset + _LENGTHS_AT)
        name, extra = struct.unpack("<HH", stream.read(4))
    return info.header_offset + _LOCAL_HEADER + name + extra
