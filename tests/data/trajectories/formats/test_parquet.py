"""Parquet files with any damaged byte are read or refused with a message."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vjepa_world.data.trajectories.formats.parquet import read_columns, read_schema
from vjepa_world.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    columns = {
        "number": np.arange(50),
        "list": [[1.5, 2.5]] * 50,
        "text": ["é", "b"] * 25,
        "words": [["é"]] * 50,
    }
    pq.write_table(pa.table(columns), path)
    return path


def test_columns_survive_a_round_trip(file: Path) -> None:
    table = read_columns(file, ["text", "number", "words"])
    assert table.column_names == ["text", "number", "words"]
    assert table["text"].to_pylist() == ["é", "b"] * 25 and table["number"].to_pylist() == list(range(50))
    assert read_columns(file).column_names == read_schema(file).names == ["number", "list", "text", "words"]
    with pytest.raises(
        DataError, match=r"a\.parquet has no column x, y. Its columns: number, list, text, words"
    ):
        read_columns(file, ["x", "number", "y"])


@pytest.mark.parametrize("seed", range(5))
def test_damaged_files_are_refused_or_read(file: Path, seed: int) -> None:
    whole, rng = file.read_bytes(), np.random.default_rng(seed)
    refused = 0
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged if rng.random() < 0.8 else whole[: rng.integers(len(whole))])
        try:
            read_columns(file).to_pydict()
        except DataError as error:
            refused += str(file) in str(error)
    assert refused > 10


def test_texts_that_are_not_utf8_are_refused(file: Path) -> None:
    content = file.read_bytes()
    assert "é".encode() in content
    file.write_bytes(content.replace("é".encode(), b"\xe1\xe1"))
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        read_columns(file, ["text"])


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for read in (read_columns, read_schema):
        with pytest.raises(DataError, match="is missing"):
            read(tmp_path / "nothing.parquet")
        with pytest.raises(DataError, match="is not a file"):
            read(tmp_path)
