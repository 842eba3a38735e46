"""Parses a serialised `tf.train.Example`: features by name, each a list of byte strings, floats or integers.

The relevant messages: Example { features = 1 }, Features { feature = 1: map of name = 1, value = 2 },
Feature { bytes_list = 1 | float_list = 2 | int64_list = 3 }, and each list { value = 1 }.

Source:
    The Protocol Buffers encoding: a field is a varint (number << 3 | wire type) and its value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_KINDS = {1: "bytes", 2: "floats", 3: "integers"}


class WireError(ValueError):
    """The bytes are not a serialised Example."""


@dataclass(frozen=True, slots=True)
class ByteStrings:
    """A list of byte strings as their locations in the Example, so that images are not copied.

    Attributes:
        spans: First byte and length of each, int64 `[count, 2]`.
    """

    spans: np.ndarray

    def __len__(self) -> int:
        return len(self.spans)

    def first(self, data: bytes) -> bytes:
        """Return the first byte string, empty if there is none."""
        return b"" if not len(self.spans) else data[self.spans[0, 0] : self.spans[0].sum()]


Feature = ByteStrings | np.ndarray


def parse_example(data: bytes) -> dict[str, Feature]:
    """Return the features of an Example by name: byte strings, float32 `[n]` or int64 `[n]`, without empty ones.

    Raises:
        WireError: The bytes are truncated or no Example.
    """
    found: dict[str, Feature] = {}
    for start, end in _messages(data, 0, len(data), 1):
        for entry_start, entry_end in _messages(data, start, end, 1):
            name, feature = _entry(data, entry_start, entry_end)
            if feature is not None:
                found[name] = feature
    return found


def _entry(data: bytes, start: int, end: int) -> tuple[str, Feature | None]:
    name, feature = "", None
    for number, wire, first, last in _fields(data, start, end):
        if number == 1 and wire == _BYTES:
            name = data[first:last].decode("utf-8", errors="replace")
        elif number == 2 and wire == _BYTES:
            feature = _feature(data, first, last)
    return name, feature


def _feature(data: bytes, start: int, end: int) -> Feature | None:
    for number, wire, first, last in _fields(data, start, end):
        kind = _KINDS.get(number)
        if wire != _BYTES or kind is None:
            raise WireError(f"a feature has a field {number} of wire type {wire}")
        if kind == "bytes":
            spans = [(at, stop - at) for at, stop in _messages(data, first, last, 1)]
            return ByteStrings(np.array(spans, np.int64).reshape(-1, 2))
        return _numbers(data, first, last, floats=kind == "floats")
    return None


def _numbers(data: bytes, start: int, end: int, *, floats: bool) -> np.ndarray:
    """Return the values of a list [n], packed into one field or in a field each."""
    parts = [np.zeros(0, np.float32 if floats else np.int64)]
    for number, wire, first, last in _fields(data, start, end):
        if number != 1 or wire not in ((_BYTES, _FIXED32) if floats else (_BYTES, _VARINT)):
            raise WireError(f"a list of numbers has a field {number} of wire type {wire}")
        if floats:
            if (last - first) % 4:
                raise WireError("a list of floats does not have four bytes for each")
            parts.append(np.frombuffer(data, "<f4", (last - first) // 4, first))
        else:
            parts.append(_varints(np.frombuffer(data, np.uint8, last - first, first)))
    return np.concatenate(parts)


def _varints(packed: np.ndarray) -> np.ndarray:
    """Return the int64 values [n] of consecutive varints: seven bits a byte, lowest first, the last byte below 128."""
    if not packed.size:
        return np.zeros(0, np.int64)
    ends = np.flatnonzero(packed < 0x80)
    if not ends.size or ends[-1] != len(packed) - 1:
        raise WireError("a list of whole numbers is cut off")
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > _LONGEST_VARINT:
        raise WireError("a whole number has more than ten bytes")
    positions = np.arange(len(packed)) - np.repeat(starts, lengths)
    parts = (packed & 0x7F).astype(np.uint64) << (7 * positions).astype(np.uint64)
    return np.bitwise_or.reduceat(parts, starts).astype(np.int64)


def _messages(data: bytes, start: int, end: int, wanted: int) -> Iterator[tuple[int, int]]:
    """Yield first and end byte of the fields with number `wanted`, which are messages or byte strings."""
    for number, wire, first, last in _fields(data, start, end):
        if number == wanted:
            if wire != _BYTES:
                raise WireError(f"field {number} has wire type {wire}, expected {_BYTES}")
            yield first, last


def _fields(data: bytes, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield number, wire type, and first and end byte of the value of each field."""
    at = start
    while at < end:
        key, at = _varint(data, at, end)
        wire, first = key & 7, at
        if wire == _VARINT:
            _, at = _varint(data, at, end)
        elif wire == _BYTES:
            size, first = _varint(data, at, end)
            at = first + size
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise WireError(f"wire type {wire} is not known")
        if at > end or key >> 3 == 0:
            raise WireError("a field goes beyond the end of its message")
        yield key >> 3, wire, first, at


def _varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for position in range(_LONGEST_VARINT):
        if at >= end:
            break
        byte = data[at]
        value |= (byte & 0x7F) << (7 * position)
        at += 1
        if byte < 0x80:
            return value, at
    raise WireError("a whole number is cut off")
