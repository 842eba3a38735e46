"""Writes a LeRobotDataset v2.1 by hand, from the published layout: two cameras as MP4, one as PNG in the parquet."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.data.coded_video import coded_frame, write_coded

FPS = 10
CAMERAS = ("front", "wrist")  # the second one's frames count from 100
CHUNK = 2  # episodes in a chunk folder
STATE_NAMES = [f"joint_{i}" for i in range(4)]


def numbers(episode: int, length: int) -> dict[str, np.ndarray]:
    """Return an episode's numeric columns, of many types."""
    rng = np.random.default_rng(episode)
    return {
        "observation.state": rng.normal(size=(length, 4)),
        "action": rng.normal(size=(length, 3)).astype(np.float32),
        "next.reward": np.where(np.arange(length) == 1, np.nan, rng.normal(size=length)).astype(np.float32),
        "next.success": np.arange(length) >= length - 1 - episode % 2,
        "observation.count": rng.integers(-(2**62), 2**62, length),
        "observation.touch": rng.integers(0, 255, (length, 6)).astype(np.uint8),
        "observation.grid": rng.normal(size=(length, 2, 3)).astype(np.float16),
        "camera_extrinsics.front": rng.normal(size=(length, 6)),
    }


def write_v21(root: Path, lengths: tuple[int, ...], *, picture: bool = False, **info: Any) -> Path:
    """Write the dataset; `info` replaces entries of `meta/info.json`, and `picture` adds a camera stored as PNG."""
    (root / "meta").mkdir(parents=True)
    for episode, length in enumerate(lengths):
        chunk = f"chunk-{episode // CHUNK:03d}"
        (root / "data" / chunk).mkdir(parents=True, exist_ok=True)
        pq.write_table(
            _table(episode, length, picture), root / "data" / chunk / f"episode_{episode:06d}.parquet"
        )
        for index, camera in enumerate(CAMERAS):
            folder = root / "videos" / chunk / f"observation.images.{camera}"
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"episode_{episode:06d}.mp4"
            write_coded(path, [100 * t for t in range(length)], b_frames=3 * index)
    tasks = [f"task {i}" for i in range(2)]
    _write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": task} for i, task in enumerate(tasks)])
    _write_lines(
        root / "meta/episodes.jsonl",
        [{"episode_index": i, "tasks": [tasks[i % 2]], "length": n} for i, n in enumerate(lengths)],
    )
    _write_lines(
        root / "meta/episodes_stats.jsonl", [{"episode_index": i, "stats": {}} for i in range(len(lengths))]
    )
    content = {
        "codebase_version": "v2.1",
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 2,
        "total_videos": len(lengths) * len(CAMERAS),
        "total_chunks": -(-len(lengths) // CHUNK),
        "chunks_size": CHUNK,
        "fps": FPS,
        "splits": {"train": f"0:{len(lengths)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": _features(picture),
    }
    (root / "meta/info.json").write_text(json.dumps(content | info))
    return root


def _features(picture: bool) -> dict[str, Any]:
    image = {"shape": [64, 64, 3], "names": ["height", "width", "channels"]}
    features: dict[str, Any] = {f"observation.images.{c}": {"dtype": "video", **image} for c in CAMERAS}
    if picture:
        features["observation.images.top"] = {"dtype": "image", **image}
    for name, values in numbers(0, 3).items():
        names = {"motors": STATE_NAMES} if name == "observation.state" else None
        features[name] = {"dtype": values.dtype.name, "shape": list(values.shape[1:] or (1,)), "names": names}
    kinds = {
        "timestamp": "float32",
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), "int64"),
    }
    return features | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}


def _table(episode: int, length: int, picture: bool) -> pa.Table:
    columns: dict[str, pa.Array] = {}
    for name, values in numbers(episode, length).items():
        kind = pa.from_numpy_dtype(values.dtype)
        for _ in values.shape[1:]:
            kind = pa.list_(kind)
        columns[name] = pa.array(list(values) if values.ndim < 3 else [list(row) for row in values], kind)
    if picture:
        columns["observation.images.top"] = pa.array(
            [{"bytes": _png(50 + t), "path": f"frame_{t:06d}.png"} for t in range(length)]
        )
    columns["timestamp"] = pa.array((np.arange(length) / FPS).astype(np.float32))
    columns["frame_index"] = pa.array(np.arange(length))
    columns["episode_index"] = pa.array(np.full(length, episode))
    columns["index"] = pa.array(np.arange(length))
    columns["task_index"] = pa.array(np.full(length, episode % 2))
    return pa.table(columns)


def _png(number: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(coded_frame(number)).save(stream, "PNG")
    return stream.getvalue()


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
