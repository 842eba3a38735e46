"""Reads single arrays of npz files: memory-mapped if stored uncompressed (`np.savez`), else decompressed once.

The decompressed size is bounded by the stored size, since a small file of zeros can decompress to more than the memory.
"""

from __future__ import annotations

import math
import struct
import tokenize
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
    NotImplementedError,  # unknown compressions
    RuntimeError,  # encrypted entries
    OverflowError,
    MemoryError,
    RecursionError,
    TypeError,
    tokenize.TokenError,  # array headers with open brackets
)
#: An array may always have this size; above it, the decompressed size may be at most this multiple of the stored size,
#: more than recorded numbers reach.
_FREE_BYTES, _MOST_UNPACKED = 64 << 20, 100
#: A ratio that deflate cannot reach.
_MOST_DEFLATED = 1100
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_LOCAL_HEADER = 30  # bytes before an entry's name
_LENGTHS_AT = 26  # of name and extra field, two bytes each


@dataclass(frozen=True)
class ArraySpec:
    """Shape and type of an array that is not read yet."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: np.dtype
    offset: int | None  # of the numbers in the file; None if compressed


class NpzFile:
    """The arrays of an npz file; unpickled in another process, it reads them there again.

    Args:
        path: The file.

    Raises:
        DataError: It is missing, truncated or no npz file, or has object arrays.
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

    def spec(self, name: str) -> ArraySpec:
        """Return an array's shape and type, without reading it."""
        entry = self._entries[name]
        return ArraySpec(entry.shape, entry.dtype)

    def is_mapped(self, name: str) -> bool:
        """Return whether an array is memory-mapped."""
        return self._entries[name].offset is not None

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an array, read-only.

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
        """Release all arrays; they are read again on request."""
        self._arrays.clear()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_arrays": {}}


def npz_names(path: Path) -> list[str]:
    """Return the names of the arrays in an npz file; only its directory is read.

    Raises:
        DataError: The directory is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
    except _ZIP_ERRORS as error:
        raise DataError(f"{path} cannot be read as npz ({error}). Copy it again.") from error


def _entry(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Entry:
    _check_unpacked(path, info)
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, by_columns, dtype = read(stream)
        header = stream.tell()
    if dtype.hasobject:
        raise ValueError(f"array '{info.filename}' holds Python objects")
    if any(isinstance(size, bool) or size < 0 for size in shape) or not dtype.itemsize:
        raise ValueError(f"array '{info.filename}' has the shape {shape} of {dtype}")
    bytes_needed = header + math.prod(shape) * dtype.itemsize
    if bytes_needed > info.file_size:
        raise ValueError(f"array '{info.filename}' needs {bytes_needed} bytes and has {info.file_size}")
    plain = (
        info.compress_type == zipfile.ZIP_STORED
        and not (by_columns and len(shape) > 1)
        and shape
        and all(shape)
    )
    return _Entry(shape, dtype, _data_offset(path, info) + header if plain else None)


def _check_unpacked(path: Path, info: zipfile.ZipInfo) -> None:
    """Refuse an entry that declares an implausible decompressed size.

    Raises:
        ValueError: It does, or is compressed in a way that NumPy does not use.
    """
    stored = min(info.compress_size, path.stat().st_size)
    if info.compress_type not in _COMPRESSIONS:
        raise ValueError(f"array '{info.filename}' is compressed in a way that NumPy does not use")
    factor = 1 if info.compress_type == zipfile.ZIP_STORED else _MOST_DEFLATED
    most = min(factor * stored, max(_FREE_BYTES, _MOST_UNPACKED * stored))
    if info.file_size > most:
        raise ValueError(
            f"array '{info.filename}' declares that its {stored} bytes decompress to {info.file_size}; at most {most} "
            "are allowed: store it with np.savez, which does not compress"
        )


def _data_offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Return the offset of an entry's bytes: after its local header, whose size the directory does not contain."""
    with open(path, "rb") as stream:
        stream.seek(info.header_offset + _LENGTHS_AT)
        name, extra = struct.unpack("<HH", stream.read(4))
    return info.header_offset + _LOCAL_HEADER + name + extra
