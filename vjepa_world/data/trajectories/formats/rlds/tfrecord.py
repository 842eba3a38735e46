"""Reads TFRecord files without TensorFlow: the location of each record, and its bytes; both checksums are compared.

A record is its length (8 bytes, little-endian), the length's checksum (4), the data, and the data's checksum (4).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from vjepa_world.errors import DataError

_HEADER = struct.Struct("<QI")
_FOOTER = struct.Struct("<I")
_LOST = "the checksum of its length is wrong, so it and all after it cannot be found"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x78\x9c": "zlib", b"\x78\x01": "zlib", b"\x78\xda": "zlib"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """Location of a record.

    Attributes:
        file: The TFRecord file.
        index: Its number in the file, from 0.
        offset: First byte of its data.
        size: Bytes of its data.
        fault: Why it cannot be read; empty if no fault is known.
    """

    file: Path
    index: int
    offset: int
    size: int
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.file} episode {self.index}"


def masked_crc32c(data: bytes) -> int:
    """Return the CRC-32C as TFRecord files store it: `((crc >> 15) | (crc << 17)) + 0xa282ead8`, in 32 bits."""
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def index_records(file: Path) -> list[Record]:
    """Return the locations of a file's records, found by stepping from length to length.

    If a length is damaged or the file ends early, the last record has a `fault` and is refused when it is read; the
    records before it are whole. An empty file, or one that is not a TFRecord file, gives one record with a fault.

    Raises:
        DataError: The file cannot be read.
    """
    records: list[Record] = []
    try:
        size = file.stat().st_size
        with open(file, "rb") as stream:
            at = 0
            while not records or (at < size and not records[-1].fault):
                stream.seek(at)
                records.append(_step(file, len(records), at, stream.read(_HEADER.size), size))
                at = records[-1].offset + records[-1].size + _FOOTER.size
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}). Copy it again.") from error
    return records


def _step(file: Path, index: int, at: int, header: bytes, file_size: int) -> Record:
    offset = at + _HEADER.size
    if len(header) < _HEADER.size:
        fault = f"the file ends at byte {file_size}, inside the record's header"
        return Record(file=file, index=index, offset=offset, size=0, fault=fault)
    size, check = _HEADER.unpack(header)
    if masked_crc32c(header[:8]) != check:
        kind = _COMPRESSED.get(header[:2]) if index == 0 else None
        fault = f"the file is {kind}-compressed, and must be unpacked first" if kind else _LOST
        return Record(file=file, index=index, offset=offset, size=0, fault=fault)
    end = offset + size + _FOOTER.size
    fault = f"it goes to byte {end}, and the file ends at {file_size}" if end > file_size else ""
    return Record(file=file, index=index, offset=offset, size=size, fault=fault)


def read_record(record: Record) -> bytes:
    """Return a record's data.

    Raises:
        DataError: It is cut off, or its checksum is wrong; file and record are named.
    """
    if record.fault:
        raise DataError(f"{record} is damaged: {record.fault}. Copy the file again.")
    try:
        with open(record.file, "rb") as stream:
            stream.seek(record.offset)
            data, footer = stream.read(record.size), stream.read(_FOOTER.size)
    except OSError as error:
        raise DataError(f"{record} cannot be read ({error.strerror}). Copy the file again.") from error
    if len(data) != record.size or len(footer) != _FOOTER.size:
        raise DataError(f"{record} is damaged: the file has become shorter. Copy the file again.")
    if masked_crc32c(data) != _FOOTER.unpack(footer)[0]:
        raise DataError(f"{record} is damaged: the checksum of its data is wrong. Copy the file again.")
    return data
