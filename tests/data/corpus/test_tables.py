"""Tables of any CSV dialect are read, or an error names the byte, line or cell."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from vjepa_world.data.corpus.tables import Table, read_table
from vjepa_world.errors import DataError

COLUMNS = ("path", "label", "start")
ROWS = [("a.mp4", "café", ""), ("b c.mp4", "x", "1.5")]


def read(file: Path) -> Table:
    return read_table(file, COLUMNS, lambda cell: cell.endswith(".mp4"))


def rows(table: Table) -> list[tuple[str, ...]]:
    return list(zip(*(table.columns[name].to_pylist() for name in COLUMNS), strict=True))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_every_csv_dialect_is_equivalent(
    tmp_path: Path, encoding: str, delimiter: str, header: bool, end: str
) -> None:
    lines = [*([COLUMNS] if header else []), *ROWS, ("", "", "")]
    (tmp_path / "list.csv").write_bytes("".join(delimiter.join(row) + end for row in lines).encode(encoding))
    table = read(tmp_path / "list.csv")
    assert rows(table) == ROWS
    assert table.names == COLUMNS
    assert table.numbers.tolist() == ([2, 3] if header else [1, 2])


def test_spaces_are_delimiters_if_there_are_no_others(tmp_path: Path) -> None:
    """The lists of V-JEPA."""
    (tmp_path / "list.csv").write_text('/data/a.mp4 3\n"/data/b c.mp4" 4\n')
    table = read(tmp_path / "list.csv")
    assert table.columns["path"].to_pylist() == ["/data/a.mp4", "/data/b c.mp4"]
    assert table.columns["label"].to_pylist() == ["3", "4"]
    assert table.names == ("path", "label")


def test_names_of_columns_may_have_capitals_and_spaces(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("Label, Path ,note\nx,a.mp4,\n")
    table = read(tmp_path / "list.csv")
    assert table.names == ("label", "path", "note")
    assert table.columns["path"].to_pylist() == ["a.mp4"]


def test_quoted_cells_may_contain_delimiters_and_line_ends(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text('path,label\na.mp4,"push, then\npull"\nb.mp4,"say ""x"""\n')
    table = read(tmp_path / "list.csv")
    assert table.columns["label"].to_pylist() == ["push, then\npull", 'say "x"']
    assert table.numbers.tolist() == [3, 4]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            "path,label\na.mp4,ok\nb.mp4,café\n".encode("latin-1"),
            "byte 0xe9, the 10th of line 3, is not UTF-8",
        ),
        (b"\xff\xfepat", r"Cannot read .*list.csv: .*truncated"),
        (
            b"path,label\na.mp4,fall, slowly\n",
            "line 2 has 3 cells, and there are 2 columns; quote cells that contain",
        ),
        (b'path,label\na.mp4,"push\nb.mp4,pull\n', "Cannot read .*list.csv: unexpected end of data"),
        (b"path,path\na.mp4,b.mp4\n", "has 2 columns 'path'; leave one"),
    ],
)
def test_unreadable_tables_are_reported(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "list.csv").write_bytes(data)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "list.csv")


def test_many_rows_keep_their_order_and_lines(tmp_path: Path) -> None:
    count = 150_000
    lines = [f"{number}.mp4,{number % 7},{number / 4}" for number in range(count)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,start", *lines]))
    table = read(tmp_path / "list.csv")
    assert len(table) == count and table.where(count - 1) == f"line {count + 1}"
    assert table.columns["path"][123_456].as_py() == "123456.mp4"
    assert table.columns["start"][140_001].as_py() == "35000.25"


def test_parquet_of_any_types(tmp_path: Path) -> None:
    paths = pa.array([" a.mp4", None, "b.mp4"]).dictionary_encode()
    table = pa.table({"Path": paths, "label": pa.array([3, None, 4]), "start": pa.array([0.5, None, None])})
    pq.write_table(table, tmp_path / "list.parquet")
    found = read(tmp_path / "list.parquet")
    assert found.columns["path"].to_pylist() == ["a.mp4", "b.mp4"]
    assert found.columns["label"].to_pylist() == [3, 4]
    assert found.numbers.tolist() == [1, 3] and found.unit == "row"
