"""Combines finished shards into the files of a LeRobotDataset v3.0; `meta/info.json` is written last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.declared import declaration
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec
from vjepa_world.data.trajectories.formats.lerobot.shard import place_file
from vjepa_world.data.trajectories.statistics import Stats, image_stats, vector_stats
from vjepa_world.files.atomic import atomic_path


@dataclass(frozen=True, kw_only=True)
class Shard:
    """A finished shard: its folder, the records of its episodes, and the episodes left out with reasons."""

    folder: Path
    episodes: tuple[Mapping[str, Any], ...]
    bad: Mapping[str, str]

    @property
    def lengths(self) -> list[int]:
        """Number of rows of each episode."""
        return [episode["length"] for episode in self.episodes]


def tasks_of(episode: Mapping[str, Any]) -> list[str]:
    """Return an episode's tasks; shards of earlier versions have a single one."""
    return list(episode["tasks"]) if "tasks" in episode else [episode["task"]]


def gather(root: Path, spec: DatasetSpec, shards: Sequence[Shard]) -> None:
    """Write the dataset of `shards`, in their order. Repeating it gives the same files.

    Raises:
        WriteError: A file cannot be written; the dataset then stays unfinished.
    """
    texts = dict.fromkeys(
        task for shard in shards for episode in shard.episodes for task in tasks_of(episode)
    )
    tasks = {task: number for number, task in enumerate(texts)}
    numbers = dict(spec.all_columns)
    if not any(episode["clock"] for shard in shards for episode in shard.episodes):
        del numbers[layout.CLOCK]
    videos = _place_videos(root, spec, shards)
    rows: list[dict[str, Any]] = []
    histograms = np.zeros((len(spec.cameras), 3, 256), np.int64)
    for number, shard in enumerate(shards):
        table = _global_table(shard, spec, tasks, first_episode=len(rows), first_row=_end(rows))
        table = table.select(list(numbers))
        _write_table(root / layout.file_path(layout.DATA_PATH, number)[0], table, shard.lengths)
        of_episodes = np.load(shard.folder / "histograms.npy")
        histograms += of_episodes.sum(axis=0)
        rows += _episode_rows(shard, spec, number, (len(rows), _end(rows)), table, of_episodes, videos)
    stats = {
        name: _stats_of_all(root, name, kind.shape, len(shards))
        for name, kind in numbers.items()
        if not kind.is_text
    }
    for camera, histogram in zip(spec.cameras, histograms, strict=True):
        stats[layout.CAMERA + camera] = image_stats(histogram, _end(rows))
    intrinsics = [episode["intrinsics"] for shard in shards for episode in shard.episodes]
    seeds = [episode.get("seed") for shard in shards for episode in shard.episodes]
    declared = declaration(spec.convention, intrinsics, environment=spec.environment, seeds=seeds)
    _write_json(root / layout.DECLARED_PATH, declared)
    features = {layout.CAMERA + camera: video.feature() for camera, video in spec.cameras.items()}
    features |= {name: kind.feature() for name, kind in numbers.items()}
    _write_meta(root, spec, features, list(tasks), rows, stats)


def _place_videos(root: Path, spec: DatasetSpec, shards: Sequence[Shard]) -> dict[tuple[str, str], int]:
    """Link each video file into the dataset; return its number by camera and by its name among the shards."""
    numbers: dict[tuple[str, str], int] = {}
    for camera in spec.cameras:
        files = dict.fromkeys(
            episode["videos"][camera]["file"] for shard in shards for episode in shard.episodes
        )
        for number, file in enumerate(files):
            path, _ = layout.file_path(layout.VIDEO_PATH, number, video_key=layout.CAMERA + camera)
            # Linked, not moved: a repetition needs the shards unchanged.
            place_file(root / layout.SHARDS / file, root / path)
            numbers[camera, file] = number
    return numbers


def _global_table(
    shard: Shard, spec: DatasetSpec, tasks: dict[str, int], *, first_episode: int, first_row: int
) -> pa.Table:
    table = pq.read_table(shard.folder / "data.parquet", schema=spec.schema())
    # In a shard a row's task index refers to its episode's tasks.
    of_episodes = [np.array([tasks[task] for task in tasks_of(episode)]) for episode in shard.episodes]
    local = np.split(table["task_index"].to_numpy(), np.cumsum(shard.lengths)[:-1])
    per_row = {
        "episode_index": np.repeat(np.arange(len(shard.lengths)) + first_episode, shard.lengths),
        "index": np.arange(table.num_rows) + first_row,
        "task_index": np.concatenate([known[rows] for known, rows in zip(of_episodes, local, strict=True)]),
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


def _stats_of_all(root: Path, name: str, shape: tuple[int, ...], num_files: int) -> Stats:
    """Return a column's statistics over all rows; only one column is in memory at a time."""
    files = (root / layout.file_path(layout.DATA_PATH, number)[0] for number in range(num_files))
    return vector_stats(
        np.concatenate([_numpy(pq.read_table(file, columns=[name]), name, shape) for file in files])
    )


def _numpy(table: pa.Table, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return a column as an array [rows, *shape]."""
    column = table[name].combine_chunks()
    while isinstance(column, pa.FixedSizeListArray | pa.ListArray):
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False).reshape(table.num_rows, *shape)


def _end(rows: list[dict[str, Any]]) -> int:
    return int(rows[-1]["dataset_to_index"]) if rows else 0


def _episode_rows(
    shard: Shard,
    spec: DatasetSpec,
    number: int,
    first: tuple[int, int],
    table: pa.Table,
    histograms: np.ndarray,
    videos: dict[tuple[str, str], int],
) -> list[dict[str, Any]]:
    """Return the entries of a shard's episodes in `meta/episodes`; `first` is its first episode and row."""
    rows = []
    start = 0
    _, chunk_file = layout.file_path(layout.DATA_PATH, number)
    values = {
        name: _numpy(table, name, kind.shape)
        for name, kind in spec.all_columns.items()
        if name in table.column_names and not kind.is_text
    }
    for i, episode in enumerate(shard.episodes):
        end = start + episode["length"]
        stats = {name: vector_stats(column[start:end]) for name, column in values.items()}
        for camera, histogram in zip(spec.cameras, histograms[i], strict=True):
            stats[layout.CAMERA + camera] = image_stats(histogram, end - start)
        rows.append(
            {
                "episode_index": first[0] + i,
                "tasks": tasks_of(episode),
                "length": end - start,
                "data/chunk_index": chunk_file["chunk_index"],
                "data/file_index": chunk_file["file_index"],
                "dataset_from_index": first[1] + start,
                "dataset_to_index": first[1] + end,
                **_video_columns(episode["videos"], videos),
                **{f"stats/{key}/{n}": v.tolist() for key, entry in stats.items() for n, v in entry.items()},
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
        )
        start = end
    return rows


def _video_columns(
    locations: Mapping[str, Mapping[str, Any]], numbers: dict[tuple[str, str], int]
) -> dict[str, int | float]:
    columns: dict[str, int | float] = {}
    for camera, span in locations.items():
        prefix = f"videos/{layout.CAMERA}{camera}"
        _, chunk_file = layout.file_path(layout.VIDEO_PATH, numbers[camera, span["file"]], video_key=camera)
        columns |= {f"{prefix}/{name}": index for name, index in chunk_file.items()}
        columns[f"{prefix}/from_timestamp"] = span["from_s"]
        columns[f"{prefix}/to_timestamp"] = span["to_s"]
    return columns


def _write_meta(
    root: Path,
    spec: DatasetSpec,
    features: dict[str, Any],
    tasks: list[str],
    rows: list[dict[str, Any]],
    stats: dict[str, Stats],
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
        "fps": layout.rate(spec.fps),
        "splits": {"train": f"0:{len(rows)}"},
        "data_path": layout.DATA_PATH,
        "video_path": layout.VIDEO_PATH if spec.cameras else None,
        "features": features,
    }
    _write_json(root / layout.INFO_PATH, info)


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Return the table of tasks, with pandas' metadata that make the column `task` the index."""
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())}
    )

    def column(name: str | None, pandas_type: str, numpy_type: str) -> dict[str, Any]:
        types = {"pandas_type": pandas_type, "numpy_type": numpy_type, "metadata": None}
        return {"name": name, "field_name": name} | types

    note = {
        "index_columns": ["task"],
        "column_indexes": [column(None, "unicode", "object")],
        "columns": [column("task_index", "int64", "int64"), column("task", "unicode", "object")],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    return table.replace_schema_metadata({"pandas": json.dumps(note)})


def _write_json(path: Path, value: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=4), encoding="utf-8")
