"""Checksums of the files that we write, so that a bit that flips on a disk or in a copy is noticed when they are read.

A safetensors file carries its own in its header, where copies and renamings do not lose it. It is a CRC-32 of the whole
file with zeros in its place: zlib's, which takes a quarter of a second for a gigabyte.
"""

from __future__ import annotations

import re
import zlib
from pathlib import Path
from typing import BinaryIO

#: Stands in a file's metadata until `seal` knows the checksum.
UNSEALED = "crc32=00000000"

_SEAL = re.compile(rb"crc32=(.{8})", re.DOTALL)
_CHUNK = 1 << 22
_LENGTH_BYTES = 8  # of the header, little-endian, at the start of a safetensors file
_LONGEST_HEADER = 100_000_000  # as the library allows

#: What transformers must find beside the checksum. The library writes the two in an order that differs from run to run.
MODEL_METADATA = {"format": "pt", "checksum": UNSEALED}
_ORDERS = tuple(
    "{" + ",".join(f'"{key}":"{MODEL_METADATA[key]}"' for key in keys) + "}"
    for keys in (("checksum", "format"), ("format", "checksum"))
)


def file_checksum(path: Path) -> str:
    """Return the CRC-32 of a file, eight hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return f"{_rest(stream, 0):08x}"


def seal(path: Path) -> None:
    """Write the checksum of a safetensors file into its header, in place of `UNSEALED`.

    Raises:
        OSError: It cannot be read or written.
        ValueError: Its metadata have no `UNSEALED`.
    """
    with path.open("r+b") as stream:
        header = _header(stream)
        header = header.replace(_ORDERS[1].encode(), _ORDERS[0].encode(), 1)
        at = header.find(UNSEALED.encode())
        if at < 0:
            raise ValueError(f"{path} has no {UNSEALED} in its metadata")
        checksum = _rest(stream, zlib.crc32(header))
        stream.seek(0)
        stream.write(header[:at] + f"crc32={checksum:08x}".encode() + header[at + len(UNSEALED) :])


def is_damaged(path: Path) -> bool:
    """Whether a safetensors file has a checksum, and it is another one than its content's.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        header = _header(stream)
        found = _SEAL.search(header)
        if found is None:
            return False
        unsealed = header[: found.start()] + UNSEALED.encode() + header[found.end() :]
        return found[1] != f"{_rest(stream, zlib.crc32(unsealed)):08x}".encode()


def _header(stream: BinaryIO) -> bytes:
    """Return the header with its length before it, and leave the stream behind it; b"" where there is none."""
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    stream.seek(0)
    return stream.read(_LENGTH_BYTES + length) if length <= _LONGEST_HEADER else b""


def _rest(stream: BinaryIO, checksum: int) -> int:
    while chunk := stream.read(_CHUNK):
        checksum = zlib.crc32(chunk, checksum)
    return checksum
