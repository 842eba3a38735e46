"""Checksums of the files that we write, so that corruption on a disk or in a copy is detected when they are read.

A safetensors file stores its checksum in its own header, so that copying and renaming preserve it. It is the XXH3
(64 bits) of the whole file with zeros in place of the checksum; it takes little longer than reading the file, and a
fifth of the time of CRC-32.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from xxhash import xxh3_64

#: Placeholder in a file's metadata until `seal` writes the checksum.
UNSEALED = "xxh3=0000000000000000"

_SEAL = re.compile(rb"xxh3=(.{16})", re.DOTALL)
_CHUNK = 1 << 20  # one buffer that stays in the CPU cache
_LENGTH_BYTES = 8  # of the header, little-endian, at the start of a safetensors file
_LONGEST_HEADER = 100_000_000  # the library's limit

#: transformers requires `format`. The safetensors library writes the two keys in an order that varies between runs.
MODEL_METADATA = {"format": "pt", "checksum": UNSEALED}
_ORDERS = tuple(
    "{" + ",".join(f'"{key}":"{MODEL_METADATA[key]}"' for key in keys) + "}"
    for keys in (("checksum", "format"), ("format", "checksum"))
)


def file_checksum(path: Path) -> str:
    """Return the XXH3 of a file, 16 hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        return _rest(stream, b"")


def seal(path: Path) -> None:
    """Write the checksum of a safetensors file into its header, in place of `UNSEALED`.

    Raises:
        OSError: If it cannot be read or written.
        ValueError: If its metadata have no `UNSEALED`.
    """
    with path.open("r+b") as stream:
        header = _header(stream)
        header = header.replace(_ORDERS[1].encode(), _ORDERS[0].encode(), 1)
        at = header.find(UNSEALED.encode())
        if at < 0:
            raise ValueError(f"{path} has no {UNSEALED} in its metadata")
        seal = f"xxh3={_rest(stream, header)}".encode()
        stream.seek(0)
        stream.write(header[:at] + seal + header[at + len(seal) :])


def is_damaged(path: Path) -> bool:
    """Return whether a safetensors file has a checksum that does not match its content.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        header = _header(stream)
        found = _SEAL.search(header)
        if found is None:
            return False
        unsealed = header[: found.start()] + UNSEALED.encode() + header[found.end() :]
        return found[1] != _rest(stream, unsealed).encode()


def _header(stream: BinaryIO) -> bytes:
    """Return the header including its length prefix, and leave the stream after it; b"" if there is none."""
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    stream.seek(0)
    return stream.read(_LENGTH_BYTES + length) if length <= _LONGEST_HEADER else b""


def _rest(stream: BinaryIO, before: bytes) -> str:
    """Return the checksum of these bytes followed by the rest of the stream."""
    checksum = xxh3_64(before)
    chunk = memoryview(bytearray(_CHUNK))
    while size := stream.readinto(chunk):  # type: ignore[attr-defined]
        checksum.update(chunk[:size])
    return checksum.hexdigest()
