"""Writes TFRecord files of `tf.train.Example`, from the published descriptions alone, for tests."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

Value = Sequence[bytes] | np.ndarray


def write_records(path: Path, records: Sequence[bytes]) -> Path:
    """Write a TFRecord file."""
    path.write_bytes(b"".join(framed(data) for data in records))
    return path


def framed(data: bytes) -> bytes:
    """Return a record: length, its checksum, data, its checksum."""
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked_crc(length)) + data + struct.pack("<I", masked_crc(data))


def masked_crc(data: bytes) -> int:
    """Return the masked CRC-32C, divided bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def example(features: Mapping[str, Value], *, packed: bool = True) -> bytes:
    """Return a serialised Example; lists of numbers in one field (`packed`), or a field for each number."""
    entries = [
        _field(1, _field(1, name.encode()) + _field(2, _feature(value, packed)))
        for name, value in features.items()
    ]
    return _field(1, b"".join(entries))


def _feature(value: Value, packed: bool) -> bytes:
    if not isinstance(value, np.ndarray):
        return _field(1, b"".join(_field(1, item) for item in value))
    numbers = value.ravel()
    if numbers.dtype.kind == "f":
        items = [struct.pack("<f", number) for number in numbers]
        alone = [_varint(1 << 3 | 5) + item for item in items]
        return _field(2, _field(1, b"".join(items)) if packed else b"".join(alone))
    items = [_varint(int(number) & (1 << 64) - 1) for number in numbers]
    alone = [_varint(1 << 3) + item for item in items]
    return _field(3, _field(1, b"".join(items)) if packed else b"".join(alone))


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
