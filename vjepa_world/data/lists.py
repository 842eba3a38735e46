"""Lists of videos: CSV and Parquet files with the columns path, and optionally label, start and end [s]."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.errors import DataError

LIST_SUFFIXES = (".csv", ".parquet")

_COLUMNS = ("path", "label", "start", "end")
_MISNAMED = {"start_s": "start", "end_s": "end"}
_LISTED = 5  # bad rows that an error names

#: Where a row stands, and its values by column.
_Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class ListedVideo:
    """A row of a list: a file, or the piece of it from `start_s` to `end_s` (None: its end)."""

    path: str
    label: str = ""
    start_s: float = 0.0
    end_s: float | None = None


def read_list(file: Path) -> list[ListedVideo]:
    """Read a CSV or Parquet list, in its order; empty rows are left out.

    Raises:
        DataError: it is missing, unreadable, without a column `path`, or has bad rows; those are named by line.
    """
    if not file.is_file():
        raise DataError(
            f"No such list: {file}. Give a CSV or Parquet file with a column 'path', and optionally 'label', 'start' "
            "and 'end'."
        )
    rows = _parquet_rows(file) if file.suffix.lower() == ".parquet" else _csv_rows(file)
    videos: list[ListedVideo] = []
    wrong: list[str] = []
    for place, row in rows:
        if any(value not in (None, "") for value in row.values()):
            found = _video(row)
            if isinstance(found, str):
                wrong.append(f"{place}: {found}")
            else:
                videos.append(found)
    if wrong:
        more = [f"... and {len(wrong) - _LISTED} more"] if len(wrong) > _LISTED else []
        lines = "\n  ".join(wrong[:_LISTED] + more)
        raise DataError(f"{file} has {len(wrong)} bad rows; correct them, or take them out:\n  {lines}")
    return videos


def _video(row: dict[str, Any]) -> ListedVideo | str:
    """Return the row's video, or what is wrong with it."""
    path, label = (_text(row.get(name)) for name in ("path", "label"))
    if not path:
        return "its path is missing"
    times: list[float | None] = []
    for name in ("start", "end"):
        value = row.get(name)
        try:
            time = None if value in (None, "") else float(value)
        except (TypeError, ValueError):
            return f"its {name} is '{value}', expected seconds"
        if time is not None and not (math.isfinite(time) and time >= 0):
            return f"its {name} is {value}, expected seconds from 0 on"
        times.append(time)
    start, end = times[0] or 0.0, times[1]
    if end is not None and end <= start:
        return f"its end {end:g} s is not after its start {start:g} s"
    return ListedVideo(path, label, start, end)


def _text(value: Any) -> str:
    return "" if value is None else str(value).strip()


def _csv_rows(file: Path) -> Iterator[_Row]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            _check_columns(file, reader.fieldnames or [], "in its first line")
            for row in reader:
                yield f"line {reader.line_num}", {name: row.get(name) for name in _COLUMNS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"Cannot read {file}: {error}. Expected a CSV file in UTF-8.") from error


def _parquet_rows(file: Path) -> Iterator[_Row]:
    try:
        source = pq.ParquetFile(file)
        _check_columns(file, source.schema_arrow.names, "")
        names = [name for name in _COLUMNS if name in source.schema_arrow.names]
        number = 0
        for batch in source.iter_batches(columns=names):
            for row in batch.to_pylist():
                number += 1
                yield f"row {number}", row
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"Cannot read {file}: {error}. Expected a whole Parquet file.") from error


def _check_columns(file: Path, columns: Iterable[str], where: str) -> None:
    columns = list(columns)
    if "path" not in columns:
        raise DataError(
            f"{file} has no column 'path' {where}".rstrip()
            + f"; it has: {', '.join(columns) or 'nothing'}. Give it the columns path and optionally label, start, "
            "end; in a CSV, 'path' or 'path,label' is the first line, then comes one video a line."
        )
    for name in columns:
        if name in _MISNAMED:
            raise DataError(f"{file} has a column '{name}'; name it '{_MISNAMED[name]}', in seconds.")
