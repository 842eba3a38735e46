"""Reads rows of a LeRobotDataset's Parquet files as arrays of the file's types, and the images stored in them.

Shapes: T rows of an episode, H W pixels, C = 3 channels (RGB).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vjepa_world.data.trajectories.formats.image_cells import cell_is_deep, decode_cell
from vjepa_world.data.trajectories.formats.lerobot.info import is_deep_grey
from vjepa_world.data.trajectories.formats.lerobot.layout import DEFAULT_COLUMNS
from vjepa_world.data.trajectories.formats.lerobot.metadata import Episode
from vjepa_world.data.trajectories.formats.parquet import (
    PARQUET_ERRORS,
    check_decoded_size,
    is_text,
    read_columns,
    read_schema,
)
from vjepa_world.data.video.reader import pixel_format
from vjepa_world.errors import DataError

_OPEN_FILES = 32
_NEEDED = ("timestamp", "frame_index", "episode_index")
_SINGLE = tuple(DEFAULT_COLUMNS)  # one number per row
_NUMBERS = ("float", "int", "uint", "bool")
_IMAGES = ("video", "image")


class RowReader:
    """Reads the numeric and text columns of a dataset's episodes; the last few files stay in memory.

    Args:
        features: As in `meta/info.json`.
        needed: Required columns; others may be missing, or of types that are not read.
    """

    def __init__(self, features: dict[str, dict[str, Any]], needed: Sequence[str] = ()) -> None:
        self._features = features
        self._shapes = {
            name: tuple(feature["shape"])
            for name, feature in features.items()
            if feature["dtype"].startswith(_NUMBERS)
        } | dict.fromkeys(_NEEDED, (1,))
        texts = [name for name, feature in features.items() if feature["dtype"] == "string"]
        self._declared = [*self._shapes, *texts]
        self._needed = (*_NEEDED, *needed)
        self._tables: dict[Path, tuple[pa.Table, np.ndarray]] = {}

    def rows(self, episode: Episode) -> dict[str, np.ndarray]:
        """Return an episode's columns by name: numbers `[T, ...]`, single ones `[T]`; texts as object arrays `[T]`.

        Raises:
            DataError: The file is damaged, lacks a column or rows, or a row has too few or too many numbers.
        """
        table, owners = self._table(episode.data_path)
        rows = np.flatnonzero(owners == episode.index)
        where = f"{episode.data_path}, episode {episode.index}"
        if len(rows) != episode.length:
            raise DataError(
                f"{where}: {len(rows)} rows, but the list of episodes has {episode.length}. Copy the dataset whole, "
                f"or record it again."
            )
        contiguous = len(rows) and rows[-1] - rows[0] == len(rows) - 1
        part = table.slice(rows[0], len(rows)) if contiguous else table.take(rows)
        found = {
            name: _texts(part[name])
            if is_text(part[name].type) and name not in self._shapes
            else _numbers(part[name], f"{where}: column {name}", self._shapes.get(name))
            for name in part.column_names
        }
        found |= {
            name: values.reshape(len(values))
            for name, values in found.items()
            if self._shapes.get(name) == (1,) and values.shape == (len(values), 1)
        }
        found |= {name: _single(found[name], f"{where}: column {name}") for name in _SINGLE if name in found}
        if not np.array_equal(found["frame_index"], np.arange(len(rows))):
            raise DataError(f"{where}: frame_index does not count 0, 1, 2, ... Record the episode again.")
        return found

    def left_out(self, files: Sequence[Path]) -> dict[str, str]:
        """Return the columns that are read neither as numbers nor as texts nor as images, with reasons.

        The stored columns are those of the first readable one of `files`.
        """
        declared = {
            name: f"dtype {feature['dtype']} is not read"
            for name, feature in self._features.items()
            if name not in self._declared and feature["dtype"] not in _IMAGES
        }
        schema = _first_schema(files)
        if schema is None:
            return declared
        absent = {
            name: "declared, and the data files have no such column"
            for name in self._declared
            if name not in schema.names and name not in _NEEDED
        }
        images = [name for name, feature in self._features.items() if feature["dtype"] in _IMAGES]
        stored = {
            field.name: f"columns of type {str(field.type)[:80]} are not read"
            for field in schema
            if not _is_read(field.type) and field.name not in images
        }
        return declared | absent | stored

    def clear(self) -> None:
        """Release the cached files."""
        self._tables.clear()

    def _table(self, file: Path) -> tuple[pa.Table, np.ndarray]:
        """Return all numeric and text columns of a file, declared or not, and the episode of each row [rows]."""
        if file not in self._tables:
            while len(self._tables) >= _OPEN_FILES:
                self._tables.pop(next(iter(self._tables)))
            wanted = [field.name for field in read_schema(file) if _is_read(field.type)]
            needed = [name for name in self._needed if name not in wanted]
            table = read_columns(file, [*needed, *wanted]).unify_dictionaries()
            where = f"{file}: column episode_index"
            owners = _single(_numbers(table["episode_index"], where, (1,)), where)
            self._tables[file] = table, owners
        return self._tables[file]


def read_images(episode: Episode, feature: str, rows: np.ndarray) -> Tensor:
    """Return the images in a data file at rows `[N]` of an episode, uint8 `[N, C, H, W]`.

    Raises:
        DataError: The file is damaged, or a row has no complete image.
    """
    file = episode.data_path
    where = f"{file}: column episode_index"
    owners = _single(_numbers(read_columns(file, ["episode_index"])["episode_index"], where, (1,)), where)
    episode_rows = np.flatnonzero(owners == episode.index)[rows]
    once, back = np.unique(episode_rows, return_inverse=True)
    try:
        with pq.ParquetFile(file) as parquet:
            if feature not in parquet.schema_arrow.names:
                raise DataError(f"{file} has no column {feature}, which meta/info.json declares as a camera.")
            sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            ends = np.cumsum(sizes)
            groups = np.unique(np.searchsorted(ends, once, side="right")).tolist()
            check_decoded_size(file, parquet.metadata, [feature], groups)
            column = parquet.read_row_groups(groups, columns=[feature])[feature]
    except PARQUET_ERRORS as error:
        raise DataError(f"{file} cannot be read as parquet ({error}). Copy it again.") from error
    starts = np.concatenate([np.arange(ends[group] - sizes[group], ends[group]) for group in groups])
    cells = column.take(np.searchsorted(starts, once)).to_pylist()
    where = f"{file}, episode {episode.index}, row"
    images = [
        decode_cell(cell, f"{where} {rows[np.flatnonzero(back == i)[0]]}: {feature}")
        for i, cell in enumerate(cells)
    ]
    sizes_found = {image.shape[:2] for image in images}
    if len(sizes_found) > 1:
        raise DataError(
            f"{file}, episode {episode.index}: images of {feature} have sizes {sorted(sizes_found)}."
        )
    return torch.from_numpy(np.stack(images)[back]).permute(0, 3, 1, 2)


def any_deep(episodes: Sequence[Episode], feature: str) -> bool:
    """Return whether the first readable image or video of a feature has grey pixels of more than 8 bits."""
    for episode in episodes:
        span = episode.videos.get(feature)
        if span is not None and span.path.is_file() and (pix_fmt := pixel_format(span.path)) is not None:
            return is_deep_grey(pix_fmt)
        try:
            with pq.ParquetFile(episode.data_path) as parquet:
                if feature not in parquet.schema_arrow.names:
                    continue
                check_decoded_size(episode.data_path, parquet.metadata, [feature], [0])
                batch = next(parquet.iter_batches(batch_size=1, row_groups=[0], columns=[feature]))
            return cell_is_deep(batch[feature][0].as_py(), f"{episode.data_path}: {feature}")
        except (*PARQUET_ERRORS, DataError, StopIteration):
            continue  # reading it reports the error
    return False


def _first_schema(files: Sequence[Path]) -> pa.Schema | None:
    for file in dict.fromkeys(files):
        try:
            return read_schema(file)
        except DataError:
            continue  # reading its episodes reports the error
    return None


def _is_read(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        kind = kind.storage_type
    return _is_numeric(kind) or is_text(kind)


def _is_numeric(kind: pa.DataType) -> bool:
    while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    """Return a column of texts as objects `[T]`; None for empty cells."""
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no rows
        return np.empty(0, object)
    if not isinstance(array, pa.DictionaryArray):
        array = array.dictionary_encode()
    words = np.array([*array.dictionary.to_pylist(), None], object)
    return words[array.indices.fill_null(len(words) - 1).to_numpy(zero_copy_only=False)]


def _numbers(column: pa.ChunkedArray, where: str, shape: tuple[int, ...] | None) -> np.ndarray:
    """Return a column as `[T, ...]`: in the declared shape, else with the number of entries in its rows."""
    array = column.combine_chunks()
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    length, is_list = len(array), False
    while isinstance(array, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        _check_lengths(array, where, shape if not is_list and shape and len(shape) == 1 else None)
        array, is_list = array.flatten(), True
    if array.null_count and not pa.types.is_floating(array.type):
        raise DataError(f"{where} has empty cells. Take the episode out, or record it again.")
    if not _is_numeric(array.type):
        raise DataError(
            f"{where} is declared as numbers, and the file has {array.type}. Correct meta/info.json."
        )
    flat = array.to_numpy(zero_copy_only=False)
    if not is_list:
        return flat
    inner = shape if shape and int(np.prod(shape)) * length == len(flat) else (-1,)
    if length == 0 or (inner == (-1,) and len(flat) % length):
        raise DataError(f"{where} has rows of different sizes. Record the dataset again.")
    return flat.reshape(length, *inner)


def _single(values: np.ndarray, where: str) -> np.ndarray:
    """Return a column of single numbers as `[T]`; some writers store each in a list."""
    if values.size != len(values) or values.dtype.kind not in "fiub":
        raise DataError(f"{where} has {values.dtype} {list(values.shape[1:])} a row, expected one number.")
    return values.reshape(len(values))


def _check_lengths(array: pa.Array, where: str, shape: tuple[int, ...] | None) -> None:
    """Refuse rows of another size than the declared one, or than the first row's."""
    lengths = pc.list_value_length(array).to_numpy(zero_copy_only=False)
    expected = shape[0] if shape else (lengths[0] if len(lengths) else 0)
    bad = np.flatnonzero(lengths != expected)
    if bad.size:
        got = "none" if np.isnan(lengths[bad[0]]) else f"{int(lengths[bad[0]])}"
        raise DataError(
            f"{where} does not have {int(expected)} numbers in each row: row {bad[0]} has {got}. Take the episode "
            f"out, or record it again."
        )
