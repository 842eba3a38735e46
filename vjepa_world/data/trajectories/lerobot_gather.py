"""Turns finished shards into the files of a LeRobotDataset v3.0; the last file written is `meta/info.json`."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.atomic import atomic_path
from vjepa_world.data.trajectories import lerobot_format as layout
from vjepa_world.data.trajectories.lerobot_format import ACTION, STATE, DatasetSpec
from vjepa_world.data.trajectories.statistics import Stats, image_stats, vector_stats

_NUMERIC = (STATE, ACTION, *layout.DEFAULT_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished shard: its folder, and length and task of each of its episodes."""

    folder: Path
    lengths: tuple[int, ...]
    tasks: tuple[str, ...]


def gather(root: Path, spec: DatasetSpec, shards: Sequence[Shard]) -> None:
    """Write the dataset that consists of `shards`, in their order. Repeating it gives the same files.

    Raises:
        DataError: the disk does not take a file; the dataset then stays unfinished.
    """
    tasks = list(dict.fromkeys(task for shard in shards for task in shard.tasks))
    rows: list[dict[str, Any]] = []
    columns: dict[str, list[np.ndarray]] = {name: [] for name in _NUMERIC}
    histogram = np.zeros((spec.image_shape[2], 256), np.int64)
    for number, shard in enumerate(shards):
        table = _global_table(shard, spec, tasks, first_episode=len(rows), first_row=_end(rows))
        path, _ = layout.file_path(layout.DATA_PATH, number)
        _write_table(root / path, table, shard.lengths)
        path, _ = layout.file_path(layout.VIDEO_PATH, number, video_key=spec.video_key)
        _place(shard.folder / "video.mp4", root / path)
        values = {name: _numpy(table, name) for name in _NUMERIC}
        histograms = np.load(shard.folder / "histograms.npy")
        rows += _episode_rows(shard, spec, number, len(rows), _end(rows), values, histograms)
        histogram += histograms.sum(axis=0)
        for name in _NUMERIC:
            columns[name].append(values[name])
    stats = {name: vector_stats(np.concatenate(columns[name])) for name in _NUMERIC}
    stats[spec.video_key] = image_stats(histogram, _end(rows))
    _write_meta(root, spec, tasks, rows, stats)


def _global_table(
    shard: Shard, spec: DatasetSpec, tasks: list[str], *, first_episode: int, first_row: int
) -> pa.Table:
    table = pq.read_table(shard.folder / "data.parquet", schema=spec.data_schema())
    per_row = {
        "episode_index": np.repeat(np.arange(len(shard.lengths)) + first_episode, shard.lengths),
        "index": np.arange(table.num_rows) + first_row,
        "task_index": np.repeat([tasks.index(task) for task in shard.tasks], shard.lengths),
    }
    for name, values in per_row.items():
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values, pa.int64()))
    return table


def _write_table(path: Path, table: pa.Table, lengths: Sequence[int]) -> None:
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, table.schema) as writer:
        start = 0
        for length in lengths:
            writer.write_table(table.slice(start, length))
            start += length


def _place(source: Path, target: Path) -> None:
    """Give `source` a second name where the file system can, else copy: gathering again must find the shard whole."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    """Return a column as [rows, n]."""
    column = table[name].combine_chunks()
    flat = column.flatten() if isinstance(column, pa.FixedSizeListArray) else column
    return flat.to_numpy().reshape(table.num_rows, -1)


def _end(rows: list[dict[str, Any]]) -> int:
    return int(rows[-1]["dataset_to_index"]) if rows else 0


def _episode_rows(
    shard: Shard,
    spec: DatasetSpec,
    number: int,
    first_episode: int,
    first_row: int,
    values: dict[str, np.ndarray],
    histograms: np.ndarray,
) -> list[dict[str, Any]]:
    rows = []
    start = 0
    _, place = layout.file_path(layout.DATA_PATH, number)
    for i, (length, task) in enumerate(zip(shard.lengths, shard.tasks, strict=True)):
        stats = {name: vector_stats(values[name][start : start + length]) for name in _NUMERIC}
        stats[spec.video_key] = image_stats(histograms[i], length)
        flat = {
            f"stats/{key}/{name}": value.tolist()
            for key, entry in stats.items()
            for name, value in entry.items()
        }
        rows.append(
            {
                "episode_index": first_episode + i,
                "tasks": [task],
                "length": length,
                "data/chunk_index": place["chunk_index"],
                "data/file_index": place["file_index"],
                "dataset_from_index": first_row + start,
                "dataset_to_index": first_row + start + length,
                f"videos/{spec.video_key}/chunk_index": place["chunk_index"],
                f"videos/{spec.video_key}/file_index": place["file_index"],
                f"videos/{spec.video_key}/from_timestamp": start / spec.fps,
                f"videos/{spec.video_key}/to_timestamp": (start + length) / spec.fps,
                **flat,
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        start += length
    return rows


def _write_meta(
    root: Path, spec: DatasetSpec, tasks: list[str], rows: list[dict[str, Any]], stats: dict[str, Stats]
) -> None:
    path, _ = layout.file_path(layout.EPISODES_PATH, 0)
    with atomic_path(root / path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows), temporary)
    with atomic_path(root / layout.TASKS_PATH) as temporary:
        pq.write_table(_tasks_table(tasks), temporary)
    plain = {key: {name: value.tolist() for name, value in entry.items()} for key, entry in stats.items()}
    _write_json(root / layout.STATS_PATH, plain)
    info = {
        "codebase_version": layout.VERSION,
        "robot_type": spec.robot_type,
        "total_episodes": len(rows),
        "total_frames": _end(rows),
        "total_tasks": len(tasks),
        "chunks_size": layout.CHUNK_SIZE,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": spec.fps,
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH,
        "features": spec.features(),
    }
    _write_json(root / layout.INFO_PATH, info)


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Return tasks with the schema note by which pandas takes the column `task` as the table's index."""
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )
    kinds = {"task_index": ("int64", "int64"), "task": ("unicode", "object")}
    note = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": None,
            }
        ],
        "columns": [
            {
                "name": name,
                "field_name": name,
                "pandas_type": kind,
                "numpy_type": numpy_kind,
                "metadata": None,
            }
            for name, (kind, numpy_kind) in kinds.items()
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(note)})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=4), encoding="utf-8")
