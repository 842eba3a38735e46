"""Reads columns of Parquet files from untrusted sources; their declared size is compared with the size on disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.errors import DataError

# A file may be decoded to this size, or to this multiple of its size: repeated numbers compress without limit, and a
# file of some kilobytes may decode to more than the memory.
_SMALL_BYTES = 256 * 2**20
_MOST_RATIO = 200
_NUMBER_BYTES = 8

#: What pyarrow raises on damaged files, ValueError for names that are not UTF-8.
PARQUET_ERRORS = (pa.ArrowException, OSError, ValueError)


def read_schema(file: Path) -> pa.Schema:
    """Return the schema of a Parquet file.

    Raises:
        DataError: It is missing, or no Parquet file.
    """
    try:
        return pq.read_schema(_regular(file))
    except PARQUET_ERRORS as error:
        raise _unreadable(file, error) from error


def read_columns(file: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read columns of a Parquet file, all if None; texts are dictionary-encoded.

    Raises:
        DataError: The file is missing, no Parquet file, decodes to much more than its size, or lacks a column.
    """
    try:
        with pq.ParquetFile(_regular(file)) as parquet:
            schema = parquet.schema_arrow
            wanted = list(schema.names if columns is None else columns)
            missing = [name for name in wanted if name not in schema.names]
            if missing:
                raise DataError(
                    f"{file} has no column {', '.join(missing)}. Its columns: {', '.join(schema.names)}."
                )
            check_decoded_size(file, parquet.metadata, wanted)
        texts = [name for name in wanted if is_text(schema.field(name).type)]
        # Not `pq.read_table`: its threads may keep the file open after it returns.
        with pq.ParquetFile(file, read_dictionary=texts) as parquet:
            table = parquet.read(columns=wanted)
        for name in wanted:  # else invalid UTF-8 would be detected much later
            if not pa.types.is_primitive(schema.field(name).type):
                table[name].validate(full=True)
        return table
    except PARQUET_ERRORS as error:
        raise _unreadable(file, error) from error


def check_decoded_size(
    file: Path, metadata: pq.FileMetaData, columns: Sequence[str], groups: Sequence[int] | None = None
) -> None:
    """Refuse a file whose columns decode to far more than its size on disk.

    Args:
        file: The file.
        metadata: Its footer.
        columns: The columns to read.
        groups: The row groups to read; None takes all.

    Raises:
        DataError: They do.
    """
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    indices = [
        index
        for index, path in enumerate(names)
        if any(path == c or path.startswith(f"{c}.") for c in columns)
    ]
    total = 0
    for group in range(metadata.num_row_groups) if groups is None else groups:
        row_group = metadata.row_group(group)
        for index in indices:
            chunk = row_group.column(index)
            total += max(chunk.num_values * _NUMBER_BYTES, chunk.total_uncompressed_size)
    size = file.stat().st_size
    if total > max(_SMALL_BYTES, _MOST_RATIO * size):
        raise DataError(
            f"{file} has {size} bytes and would take {total} in memory; allowed are {_MOST_RATIO} times its size. It "
            "is damaged, or made to exhaust the memory: take it from another source."
        )


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column has texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _regular(file: Path) -> Path:
    if not file.exists():
        raise DataError(f"{file} is missing. Copy the dataset whole.")
    if not file.is_file():
        raise DataError(f"{file} is not a file. Copy the dataset whole.")
    return file


def _unreadable(file: Path, error: Exception) -> DataError:
    return DataError(f"{file} cannot be read as parquet ({error}). Copy it again.")
