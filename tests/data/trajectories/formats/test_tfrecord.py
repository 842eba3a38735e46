"""TFRecord files and Examples against the published descriptions, and a real file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.trajectories.tf_writer import example, framed, masked_crc, write_records
from vjepa_world.data.trajectories.formats.rlds.tf_example import ByteStrings, WireError, parse_example
from vjepa_world.data.trajectories.formats.rlds.tfrecord import index_records, masked_crc32c, read_record
from vjepa_world.errors import DataError


@pytest.mark.parametrize(
    ("data", "crc"),
    [
        (b"123456789", 0xE3069283),
        (b"", 0),
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
    ],
)
def test_checksums_equal_published_values(data: bytes, crc: int) -> None:
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert masked_crc32c(data) == masked  # the CRC catalogue's check value, and RFC 3720, B.4


@pytest.mark.parametrize("size", [1, 255, 511, 512, 513, 768, 1000, 1024, 2047, 4096, 5000])
def test_checksums_of_any_length(size: int) -> None:
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert masked_crc32c(data) == masked_crc(data)


def test_records_survive_a_round_trip(tmp_path: Path) -> None:
    data = [b"", b"one", bytes(3000)]
    records = index_records(write_records(tmp_path / "a.tfrecord", data))
    assert [read_record(record) for record in records] == data


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (0, "episode 1 is damaged: the checksum of its length is wrong, so it and all after it"),
        (9, "episode 1 is damaged: the checksum of its length is wrong"),
        (13, "episode 1 is damaged: the checksum of its data is wrong"),
        (-1, "episode 1 is damaged: the checksum of its data is wrong"),
    ],
)
def test_a_changed_byte_is_detected(place: int, message: str, tmp_path: Path) -> None:
    parts = [framed(data) for data in (b"first", b"second", b"third")]
    damaged = bytearray(parts[1])
    damaged[place] ^= 16
    file = tmp_path / "a.tfrecord"
    file.write_bytes(parts[0] + damaged + parts[2])
    records = index_records(file)
    assert read_record(records[0]) == b"first"
    with pytest.raises(DataError, match=f"{file} {message}"):
        read_record(records[1])
    if "length" not in message:
        assert read_record(records[2]) == b"third"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file ends at byte 0, inside the record's header"),
        (framed(b"x" * 50)[:40], "it goes to byte 66, and the file ends at 40"),
        (b"\x1f\x8b" + bytes(30), "is gzip-compressed, and must be unpacked first"),
        (b"no record at all", "the checksum of its length is wrong"),
    ],
)
def test_a_file_that_is_broken_from_the_start(content: bytes, message: str, tmp_path: Path) -> None:
    file = tmp_path / "a.tfrecord"
    file.write_bytes(content)
    (record,) = index_records(file)
    with pytest.raises(DataError, match=f"{file} episode 0 is damaged: .*{message}"):
        read_record(record)


def test_a_file_that_shrinks_is_detected(tmp_path: Path) -> None:
    file = write_records(tmp_path / "a.tfrecord", [b"whole"])
    (record,) = index_records(file)
    file.write_bytes(file.read_bytes()[:-6])
    with pytest.raises(DataError, match="has become shorter"):
        read_record(record)


@pytest.mark.parametrize("packed", [True, False])
def test_features_survive_a_round_trip(packed: bool) -> None:
    floats = np.array([1.5, -2.25, np.inf], np.float32)
    integers = np.array([0, 1, 127, 128, -1, -(2**63), 2**63 - 1, 300], np.int64)
    texts = [b"", b"some", b"x" * 300]
    data = example({"f": floats, "i": integers, "t": texts, "none": np.zeros(0, np.float32)}, packed=packed)
    found = parse_example(data)
    for name, numbers in (("f", floats), ("i", integers)):
        read = found[name]
        assert isinstance(read, np.ndarray) and read.dtype == numbers.dtype
        assert np.array_equal(read, numbers)
    strings = found["t"]
    assert isinstance(strings, ByteStrings)
    assert [data[at : at + size] for at, size in strings.spans] == texts


def test_a_truncated_example_is_refused() -> None:
    data = example({"f": np.arange(5, dtype=np.float32), "i": np.arange(200), "t": [b"text"] * 3})
    assert parse_example(b"") == {}
    for end in range(1, len(data)):
        with pytest.raises(WireError):
            parse_example(data[:end])


def test_random_bytes_are_refused_or_harmless() -> None:
    rng = np.random.default_rng(0)
    refused = 0
    for size in rng.integers(1, 60, 300):
        data = rng.integers(0, 256, size, dtype=np.uint8).tobytes()
        try:
            parse_example(data)
        except WireError:
            refused += 1
    assert refused > 250
