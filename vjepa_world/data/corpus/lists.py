"""Reads lists of videos: CSV and Parquet files with the columns path, and optionally label, start and end [s].

A list without a header has its columns in that order (V-JEPA's own lists: `path label`, separated by a space).
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vjepa_world.data.corpus.tables import Table, check_columns, read_table
from vjepa_world.errors import DataError

LIST_SUFFIXES = (".csv", ".parquet")

_COLUMNS = ("path", "label", "start", "end")
_MISNAMED = {"start_s": "start", "end_s": "end"}
_LISTED = 5  # bad rows that an error lists


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A row of a list: a file, or its part from `start_s` to `end_s` (None: its end)."""

    path: str
    label: str = ""
    start_s: float = 0.0
    end_s: float | None = None


@dataclass(frozen=True)
class VideoList(Sequence[ListedVideo]):
    """The rows of a list, by column.

    Attributes:
        path: Text, as in the list.
        label: Text, "" for none.
        start_s: Start of each part [s], 0 for the file's beginning.
        end_s: End of each part [s], NaN for the file's end.
    """

    path: pa.ChunkedArray
    label: pa.DictionaryArray
    start_s: np.ndarray
    end_s: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.start_s)

    @overload
    def __getitem__(self, index: int) -> ListedVideo: ...

    @overload
    def __getitem__(self, index: slice) -> list[ListedVideo]: ...

    def __getitem__(self, index: int | slice) -> ListedVideo | list[ListedVideo]:
        """Return a row."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        end_s = float(self.end_s[index])
        return ListedVideo(
            self.path[index].as_py(),
            self.label[index].as_py(),
            float(self.start_s[index]),
            None if math.isnan(end_s) else end_s,
        )


def read_list(file: Path, suffixes: tuple[str, ...]) -> VideoList:
    """Read a CSV or Parquet list in its order, without empty rows.

    Args:
        file: The list.
        suffixes: Suffixes of videos and images, by which a first line that is not a header is recognised.

    Raises:
        DataError: It is missing, unreadable, lacks a column `path`, or has bad rows, which are listed by line.
    """
    if not file.is_file():
        raise DataError(
            f"No such list: {file}. Give a CSV or Parquet file with a column 'path', and optionally 'label', 'start' "
            "and 'end'."
        )
    table = read_table(file, _COLUMNS, names_a_file(file, suffixes))
    check_columns(
        table,
        ("path",),
        "Give it the columns path and optionally label, start, end; in a CSV, 'path' or 'path,label' is the first "
        "line, then comes one video per line.",
    )
    for name in table.names:
        if name in _MISNAMED:
            raise DataError(f"{file} has a column '{name}'; name it '{_MISNAMED[name]}', in seconds.")
    text = {name: _text(table, name) for name in ("path", "label")}
    start_s, end_s = (_seconds(table, name) for name in ("start", "end"))
    wrong = _bad_rows(table, text["path"], start_s, end_s)
    if wrong:
        more = [f"... and {len(wrong) - _LISTED} more"] if len(wrong) > _LISTED else []
        lines = "\n  ".join([f"{table.where(row)}: {wrong[row]}" for row in sorted(wrong)[:_LISTED]] + more)
        raise DataError(f"{file} has {len(wrong)} bad rows; correct or remove them:\n  {lines}")
    label = text["label"].dictionary_encode().combine_chunks()
    return VideoList(text["path"], _one_chunk(label), np.nan_to_num(start_s.values, nan=0.0), end_s.values)


def names_a_file(file: Path, suffixes: tuple[str, ...]) -> Any:
    """Return a test whether a cell of a list names a file: by its suffix, or because the file exists."""

    def names_one(cell: str) -> bool:
        try:
            return cell.lower().endswith(suffixes) or (bool(cell) and os.path.isfile(file.parent / cell))
        except ValueError:  # a zero byte
            return False

    return names_one


@dataclass(frozen=True)
class _Seconds:
    """Times [s], NaN if missing, and errors by row."""

    values: np.ndarray
    wrong: dict[int, str]


def _one_chunk(column: Any) -> pa.DictionaryArray:
    if not isinstance(column, pa.ChunkedArray):
        return column
    return column.chunk(0) if column.num_chunks else pa.array([], pa.string()).dictionary_encode()


def _text(table: Table, name: str) -> pa.ChunkedArray:
    """Return a column as text; "" in all rows if it is missing."""
    column = table.columns.get(name)
    if column is None:
        return pa.chunked_array([pa.repeat("", len(table))])
    if not pa.types.is_string(column.type):  # numbers in a Parquet file
        values = ["" if value is None or value != value else str(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(values, pa.string())])
    return column


def _seconds(table: Table, name: str) -> _Seconds:
    """Return a column as non-negative times [s]."""
    column = table.columns.get(name)
    if column is None:
        return _Seconds(np.full(len(table), np.nan), {})
    wrong: dict[int, str] = {}
    if pa.types.is_string(column.type):
        there = pc.not_equal(column, "")
        try:
            parsed = pc.if_else(there, column, None).cast(pa.float64())
        except pa.ArrowInvalid:
            parsed = pa.chunked_array(
                [pa.array([_number(text) for text in column.to_pylist()], pa.float64())]
            )
    else:
        there, parsed = pc.is_valid(column), column.cast(pa.float64(), safe=False)
    values = parsed.to_numpy()
    for row in np.flatnonzero(there.to_numpy() & ~(np.isfinite(values) & (values >= 0))):
        value = column[int(row)].as_py()
        known = isinstance(value, int | float) or _number(value) is not None
        wrong[int(row)] = (
            f"its {name} is {value}, expected seconds from 0 on"
            if known
            else (f"its {name} is '{value}', expected seconds")
        )
    return _Seconds(values, wrong)


def _number(text: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _bad_rows(table: Table, path: pa.ChunkedArray, start_s: _Seconds, end_s: _Seconds) -> dict[int, str]:
    """Return the first error of each bad row."""
    wrong = dict.fromkeys(np.flatnonzero(pc.equal(path, "").to_numpy()).tolist(), "its path is missing")
    for row in np.flatnonzero(pc.match_substring_regex(path, r"^[A-Za-z0-9]+://").to_numpy()).tolist():
        wrong[row] = f"its path is an address ({path[row].as_py()}), expected a file; download it first"
    for seconds in (start_s, end_s):
        wrong = {**seconds.wrong, **wrong}
    starts = np.nan_to_num(start_s.values, nan=0.0)
    for row in np.flatnonzero(end_s.values <= starts).tolist():
        wrong.setdefault(row, f"its end {end_s.values[row]:g} s is not after its start {starts[row]:g} s")
    return wrong
