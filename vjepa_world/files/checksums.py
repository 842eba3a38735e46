"""Checksums of the files that we write, so that a bit that flips on a disk or in a copy is noticed when they are read.

A safetensors file carries its own in its header, where copies and renamings do not lose it. It is the XXH3 of the whole
file (64 bits) with zeros in its place, which takes little longer than the reading: a fifth of what CRC-32 takes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

from xxhash import xxh3_64

#: Stands in a file's metadata until `seal` knows the checksum.
UNSEALED = "xxh3=0000000000000000"

_SEAL = re.compile(rb"xxh3=(.{16})", re.DOTALL)
_CHUNK = 1 << 20  # what is read at once, into the same memory: it stays in the processor's cache
_LENGTH_BYTES = 8  # of the header, little-endian, at the start of a safetensors file
_LONGEST_HEADER = 100_000_000  # as the library allows

#: What transformers must find beside the checksum. The library writes the two in an order that differs from run to run.
MODEL_METADATA = {"format": "pt", "checksum": UNSEALED}
_ORDERS = tuple(
    "{" + ",".join(f'"{key}":"{MODEL_METADATA[key]}"' for key in keys) + "}"
    for keys in (("checksum", "format"), ("format", "checksum"))
)


def file_checksum(path: Path) -> str:
    """Return the XXH3 of a file, 16 hexadecimal digits.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as stream:
        return _rest(stream, b"")


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
        seal = f"xxh3={_rest(stream, header)}".encode()
        stream.seek(0)
        stream.write(header[:at] + seal + header[at + len(seal) :])


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
        return found[1] != _rest(stream, unsealed).encode()


def _header(stream: BinaryIO) -> bytes:
    """Return the header with its length before it, and leave the stream behind it; b"" where there is none."""
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    stream.seek(0)
    return stream.read(_LENGTH_BYTES + length) if length <= _LONGEST_HEADER else b""


def _rest(stream: BinaryIO, before: bytes) -> str:
    """Return the checksum of these bytes with the rest of the stream behind them."""
    checksum = xxh3_64(before)
    chunk = memoryview(bytearray(_CHUNK))
    while size := stream.readinto(chunk):  # type: ignore[attr-defined]
        checksum.update(chunk[:size])
    return checksum.hexdigest()
