"""Reads tables of text and numbers: CSV, with or without a header, and Parquet. Columns are Arrow arrays.

Encoding and delimiter of a CSV file are detected: UTF-8 or UTF-16, with or without a byte-order mark; comma,
semicolon, tab or space.
"""

from __future__ import annotations

import codecs
import csv
import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vjepa_world.errors import DataError

_DELIMITERS = (",", ";", "\t", " ")
_CHUNK = 1 << 16  # rows that are Python objects at a time
_PACKED = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"PK\x03\x04", "ZIP"), (b"PAR1", "Parquet"))
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: Returns whether the first cell of the first line is a value, so that the file has no header.
IsValue = Callable[[str], bool]


@dataclass(frozen=True)
class Table:
    """Some columns of a file.

    Attributes:
        file: The file.
        names: Names of all of its columns, in lower case.
        columns: The requested columns that exist, without empty rows; text is stripped.
        numbers: Line of each of the N rows in a CSV file, otherwise its number from 1; int64 `[N]`.
        unit: What `numbers` count, "line" or "row".
    """

    file: Path
    names: tuple[str, ...]
    columns: dict[str, pa.ChunkedArray]
    numbers: np.ndarray
    unit: str

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)

    def where(self, row: int) -> str:
        """Return the position of a row as text."""
        return f"{self.unit} {self.numbers[row]}"


def read_table(file: Path, columns: Sequence[str], is_value: IsValue, *, more_cells: bool = False) -> Table:
    """Read a CSV or Parquet file (by its ending) with at least the first of `columns`.

    Args:
        file: The file; it exists.
        columns: The requested columns. A CSV file without a header has the first of them, in this order.
        is_value: Returns whether a first line without the first column's name is a row.
        more_cells: Whether rows may have more cells than there are columns; the excess is ignored.

    Raises:
        DataError: It is not readable, not text, lacks the column, or a row has too many cells.
    """
    if file.suffix.lower() == ".parquet":
        return _read_parquet(file, columns)
    try:
        with open(file, encoding=_encoding(file), newline="") as stream:
            return _read_csv(file, stream, columns, is_value, more_cells)
    except UnicodeError as error:
        raise DataError(f"Cannot read {file}: {_undecodable(file, error)}") from error
    except csv.Error as error:
        raise DataError(f"Cannot read {file}: {error}. Expected a CSV file in UTF-8.") from error
    except OSError as error:
        raise DataError(f"Cannot read {file}: {error.strerror}. Expected a readable CSV file.") from error


def first_lines(file: Path, count: int) -> list[str]:
    """Return the first lines of a file; none if it is not text."""
    try:
        with open(file, encoding=_encoding(file), newline="") as stream:
            return [line.strip("\r\n") for line in itertools.islice(stream, count)]
    except (OSError, UnicodeError, DataError):
        return []


def possible_cells(line: str) -> list[str]:
    """Return the cells of a line for every possible delimiter."""
    return [cell.strip() for delimiter in _DELIMITERS for cell in _cells(line, delimiter)]


def check_columns(table: Table, wanted: Sequence[str], advice: str) -> None:
    """Check that a table has columns.

    Raises:
        DataError: One is missing; the existing ones are listed.
    """
    for name in wanted:
        if name not in table.names:
            where = " in its first line" if table.unit == "line" else ""
            found = ", ".join(table.names) or "nothing"
            raise DataError(f"{table.file} has no column '{name}'{where}; it has: {found}. {advice}")


def _encoding(file: Path) -> str:
    with open(file, "rb") as stream:
        head = stream.read(64)
    for mark, kind in _PACKED:
        if head.startswith(mark):
            raise DataError(
                f"Cannot read {file}: it is a {kind} file. Expected a CSV file, which is plain text."
            )
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding
    # Without a mark: in UTF-16 every second byte of Latin text is zero.
    if len(head) > 3 and 0 in head[:4]:
        return "utf-16-le" if head[1] == 0 else "utf-16-be"
    return "utf-8"


def _undecodable(file: Path, error: UnicodeError) -> str:
    """Return the location of undecodable text, and what to do."""
    line, reason = 0, str(error)
    if isinstance(error, UnicodeDecodeError) and error.encoding == "utf-8":
        with open(file, "rb") as stream:
            for line, data in enumerate(stream, start=1):
                try:
                    data.decode("utf-8")
                except UnicodeDecodeError as found:
                    reason = f"byte 0x{data[found.start]:02x}, the {found.start + 1}th of line {line}, is not UTF-8"
                    break
    return f"{reason}. Expected a CSV file in UTF-8 or UTF-16; save it again as 'CSV UTF-8'."


def _read_csv(
    file: Path, stream: TextIO, columns: Sequence[str], is_value: IsValue, more_cells: bool
) -> Table:
    first = _first_line(stream)
    delimiter, header = _sniffed(first, columns[0], is_value)
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    numbered = ((reader.line_num, row) for row in reader)
    names = tuple(columns)
    if header:
        cells = next((row for _, row in numbered if any(cell.strip() for cell in row)), [])
        names = tuple(cell.strip().lower() for cell in cells)
        _check_once(file, names, columns)
    wanted = {name: names.index(name) for name in columns if name in names}
    numbers, found = _collected(file, numbered, wanted, None if more_cells else len(names))
    if not header:
        found = {name: column for name, column in found.items() if name == columns[0] or _has_text(column)}
        names = tuple(found)
    return Table(file, names, found, numbers, "line")


def _has_text(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.not_equal(column, "")).as_py())


def _first_line(stream: TextIO) -> str:
    """Return the first line that is not empty, and rewind."""
    line = next((line for line in stream if line.strip(" \t\r\n,;")), "")
    stream.seek(0)
    return line.strip("\r\n")


def _sniffed(line: str, name: str, is_value: IsValue) -> tuple[str, bool]:
    """Return the delimiter, and whether the line names columns."""
    rows = {delimiter: _cells(line, delimiter) for delimiter in _DELIMITERS}
    for delimiter, cells in rows.items():
        if name in [cell.strip().lower() for cell in cells]:
            return delimiter, True
    for delimiter, cells in rows.items():
        if cells and is_value(cells[0].strip()):
            return delimiter, False
    return ",", True


def _cells(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error:  # a cell that is too long
        return []


def _check_once(file: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    for name in columns:
        if names.count(name) > 1:
            raise DataError(f"{file} has {names.count(name)} columns '{name}'; leave one.")


def _collected(
    file: Path, rows: Iterable[tuple[int, list[str]]], wanted: dict[str, int], most: int | None
) -> tuple[np.ndarray, dict[str, pa.ChunkedArray]]:
    """Return the lines of the non-empty rows, and their cells by column."""
    chunks: dict[str, list[pa.Array]] = {name: [] for name in wanted}
    lines: list[np.ndarray] = []
    numbers: list[int] = []
    cells: dict[str, list[str]] = {name: [] for name in wanted}

    def flush() -> None:
        lines.append(np.array(numbers, np.int64))
        numbers.clear()
        for name, values in cells.items():
            chunks[name].append(pa.array(values, pa.string()))
            values.clear()

    for number, row in rows:
        if not any(row) or not any(cell.strip() for cell in row):
            continue
        if most is not None and len(row) > most and any(cell.strip() for cell in row[most:]):
            raise DataError(
                f"{file}, line {number} has {len(row)} cells, and there are {most} columns; quote cells that contain "
                "the delimiter."
            )
        numbers.append(number)
        for name, index in wanted.items():
            cells[name].append(row[index].strip() if index < len(row) else "")
        if len(numbers) == _CHUNK:
            flush()
    flush()
    return np.concatenate(lines), {
        name: pa.chunked_array(parts, pa.string()) for name, parts in chunks.items()
    }


def _read_parquet(file: Path, columns: Sequence[str]) -> Table:
    try:
        source = pq.ParquetFile(file)
        there = source.schema_arrow.names
        names = tuple(name.strip().lower() for name in there)
        _check_once(file, names, columns)
        wanted = {name: there[names.index(name)] for name in columns if name in names}
        table = source.read(columns=list(wanted.values()))
        found = {name: _plain(file, name, table[column]) for name, column in wanted.items()}
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {file}: {error}. Expected a whole Parquet file.") from error
    return _without_empty(Table(file, names, found, np.arange(1, len(table) + 1), "row"))


def _plain(file: Path, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return numbers unchanged, and other types as stripped text, "" if missing.

    Raises:
        DataError: Its cells are not single values.
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        return column
    if pa.types.is_nested(kind):
        raise DataError(f"The column '{name}' of {file} has cells of type {kind}; expected text or numbers.")
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        column = column.cast(pa.binary()).cast(pa.string())
        kind = column.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        values = [None if value is None else str(value) for value in column.to_pylist()]
        column = pa.chunked_array([pa.array(values, pa.string())])
    return pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), "")


def _without_empty(table: Table) -> Table:
    filled = np.zeros(len(table), bool)
    for column in table.columns.values():
        there = pc.not_equal(column, "") if pa.types.is_string(column.type) else pc.is_valid(column)
        filled |= there.to_numpy()
    if filled.all():
        return table
    rows = np.flatnonzero(filled)
    columns = {name: column.take(pa.array(rows)) for name, column in table.columns.items()}
    return Table(table.file, table.names, columns, table.numbers[rows], table.unit)
