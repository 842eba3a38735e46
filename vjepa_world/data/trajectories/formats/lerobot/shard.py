"""Writes a shard: some episodes of an unfinished LeRobotDataset v3.0, written by one process.

A shard is a folder `.shards/shard-NNNNN` with `data.parquet`, an MP4 for each encoded camera, and `shard.json`, the
list of its episodes. Existing video files are linked into `.shards/taken`, shared by all shards.
Shapes: T observations of an episode, S state size, A action size, H W pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.columns import (
    checked_numbers,
    dataset_columns,
    display_times,
    needs_clock,
    numbered_tasks,
)
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec
from vjepa_world.data.trajectories.statistics import image_histogram, sampled_rows
from vjepa_world.data.trajectories.trajectory import Trajectory, VideoSpan
from vjepa_world.data.video.writer import VideoWriter
from vjepa_world.errors import DataError
from vjepa_world.files.atomic import atomic_path, write_error

_TAKEN = "taken"
_CHUNK = 64  # frames that are in memory at once while encoding


class ShardWriter:
    """Writes some episodes of a dataset; from `LeRobotWriter.shard`.

    A context manager: it commits at the end of its block, and removes everything after an exception.
    """

    def __init__(self, folder: Path, spec: DatasetSpec, crf: int) -> None:
        self._folder, self._spec, self._crf = folder, spec, crf
        self._temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        self._episodes: list[dict[str, Any]] = []
        self._bad: dict[str, str] = {}
        self._tables: list[pa.Table] = []
        self._histograms: list[np.ndarray] = []
        self._videos: dict[str, VideoWriter] = {}
        # Left behind by a killed process.
        for stale in folder.parent.glob(f"{folder.name}.*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            self._temporary.mkdir(parents=True)
        except OSError as error:
            raise write_error(folder, error) from error

    def add_episode(
        self, frames: np.ndarray | Sequence[np.ndarray], states: np.ndarray, actions: np.ndarray, *, task: str
    ) -> None:
        """Append an episode of a dataset with a single camera.

        Args:
            frames: Images uint8 RGB `[T, H, W, 3]`, T at least 2.
            states: Finite numbers `[T, S]`.
            actions: Finite numbers `[T-1, A]`; `actions[t]` was taken at observation t.
            task: What the robot did, in words.

        Raises:
            DataError: An array has another shape or type, or a value is not finite.
            WriteError: The disk is full.
        """
        name, images = f"episode {len(self._episodes)}", np.asarray(frames)
        if images.dtype != np.uint8 or len(images) != len(states):
            raise DataError(
                f"{name} of shard {self._folder}: frames are {images.dtype} of shape {images.shape}, expected "
                f"uint8 and {len(states)} of them, one for each state."
            )

        def load(camera: str, rows: np.ndarray) -> Tensor:
            return torch.from_numpy(images[rows]).permute(0, 3, 1, 2)

        trajectory = Trajectory(
            index=len(self._episodes),
            name=name,
            fps=self._spec.fps,
            states=np.asarray(states, self._spec.state_dtype),
            actions=np.asarray(actions, self._spec.action_dtype),
            timestamps_s=np.arange(len(images)) / self._spec.fps,
            cameras=tuple(self._spec.cameras),
            load_frames=load,
            task=task,
        )
        self.add(trajectory)

    def add(self, trajectory: Trajectory, *, reencode: bool = False) -> None:
        """Append an episode with all of its columns and cameras; existing video files are linked or copied unchanged.

        Args:
            trajectory: The episode; its numbers have the types and shapes of the dataset's specification.
            reencode: Encode frames even if there is a video file.

        Raises:
            WriteError: It cannot be written.
            DataError: The episode does not fit the specification or cannot be read; nothing of it is written.
        """
        where = f"{trajectory.name}, for shard {self._folder}"
        numbers = checked_numbers(dataset_columns(trajectory), self._spec, len(trajectory), where)
        missing = [camera for camera in self._spec.cameras if camera not in trajectory.cameras]
        if missing:
            raise DataError(f"{where}: camera {missing[0]} is missing; the dataset's other episodes have it.")
        spans = {} if reencode else dict(trajectory.videos)
        stamps_s = display_times(trajectory, {c: spans.get(c) for c in self._spec.cameras}, where)
        tasks, task_of_rows = numbered_tasks(trajectory)
        record: dict[str, Any] = {"length": len(trajectory), "tasks": tasks, "videos": {}}
        histograms = []
        for camera in self._spec.cameras:
            span = spans.get(camera)
            location, histogram = (
                self._take(trajectory, camera, span) if span else self._encode(trajectory, camera)
            )
            record["videos"][camera] = location
            histograms.append(histogram)
        record["intrinsics"] = {camera: np.asarray(k).tolist() for camera, k in trajectory.intrinsics.items()}
        record["seed"] = trajectory.seed
        record["clock"] = needs_clock(trajectory, stamps_s)
        self._tables.append(self._table(numbers, stamps_s, trajectory.timestamps_s, task_of_rows))
        self._histograms.append(np.array(histograms, np.int64).reshape(len(histograms), 3, 256))
        self._episodes.append(record)

    def skip(self, name: str, reason: str) -> None:
        """Record that an episode could not be used, with the reason."""
        self._bad[name] = reason

    @property
    def is_empty(self) -> bool:
        """Whether nothing was added."""
        return not self._episodes and not self._bad

    def commit(self) -> None:
        """Finish the shard.

        Raises:
            DataError: No episode was added or skipped, or the disk is full; the shard is removed then.
        """
        if self.is_empty:
            self.discard()
            raise DataError(f"Shard {self._folder} has no episode, expected at least one.")
        try:
            for video in self._videos.values():
                if video.num_frames:
                    video.close()
                else:
                    video.discard()
            with pq.ParquetWriter(self._temporary / "data.parquet", self._spec.schema()) as writer:
                for table in self._tables:  # one row group for each episode, so that it can be read alone
                    writer.write_table(table)
            np.save(self._temporary / "histograms.npy", np.array(self._histograms, np.int64))
            content = {"spec": self._spec.to_dict(), "episodes": self._episodes, "bad": self._bad}
            (self._temporary / "shard.json").write_text(json.dumps(content), encoding="utf-8")
            os.rename(self._temporary, self._folder)
        except (OSError, DataError) as error:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise (write_error(self._folder, error) if isinstance(error, OSError) else error) from error

    def discard(self) -> None:
        """Remove the shard."""
        for video in self._videos.values():
            video.discard()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _encode(self, trajectory: Trajectory, camera: str) -> tuple[dict[str, Any], np.ndarray]:
        """Append an episode's frames to the shard's video; if the episode fails later, they stay in it unused."""
        spec = self._spec.cameras[camera]
        name = f"video-{list(self._spec.cameras).index(camera)}.mp4"
        if camera not in self._videos:
            self._videos[camera] = VideoWriter(self._temporary / name, self._spec.fps, crf=self._crf)
        video = self._videos[camera]
        begin, sampled = video.num_frames, sampled_rows(len(trajectory))
        histogram = np.zeros((3, 256), np.int64)
        for start in range(0, len(trajectory), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(trajectory)))
            frames = _images(trajectory, rows, camera, (spec.height, spec.width))
            for row, frame in zip(rows, frames, strict=True):
                video.write(frame, keyframe=row == 0)
            histogram += image_histogram(frames[np.isin(rows, sampled)])
        location = {"file": f"{self._folder.name}/{name}", "from_s": begin / self._spec.fps}
        return {**location, "to_s": (begin + len(trajectory)) / self._spec.fps}, histogram

    def _take(
        self, trajectory: Trajectory, camera: str, span: VideoSpan
    ) -> tuple[dict[str, Any], np.ndarray]:
        """Link an episode's video file next to the shards, or copy it."""
        spec = self._spec.cameras[camera]
        # The first and the last frame are included, so that a video shorter than its rows is detected.
        frames = _images(trajectory, sampled_rows(len(trajectory)), camera, (spec.height, spec.width))
        digest = hashlib.sha256(str(span.path.resolve()).encode(errors="surrogateescape")).hexdigest()[:16]
        target = self._folder.parent / _TAKEN / f"{digest}.mp4"
        if not target.exists():
            place_file(span.path, target)
        location = {"file": f"{_TAKEN}/{target.name}", "from_s": span.from_s, "to_s": span.to_s}
        return location, image_histogram(frames)

    def _table(
        self,
        numbers: dict[str, np.ndarray],
        stamps_s: np.ndarray,
        clock_s: np.ndarray,
        task_of_rows: np.ndarray,
    ) -> pa.Table:
        steps = np.arange(len(stamps_s))
        values = {
            **numbers,
            layout.CLOCK: clock_s,
            "timestamp": stamps_s,
            "frame_index": steps,
            # Indices in the whole dataset are set when the shards are gathered.
            "episode_index": np.full(len(steps), len(self._episodes)),
            "index": steps,
            "task_index": task_of_rows,
        }
        specs = self._spec.all_columns
        return pa.table(
            {name: spec.arrow(values[name]) for name, spec in specs.items()}, schema=self._spec.schema()
        )


def place_file(source: Path, target: Path) -> None:
    """Hard-link a file to `target`, or copy it; symbolic links are resolved.

    Raises:
        WriteError: It cannot be written, or the copy differs in size.
    """
    # Linux would link a symbolic link itself, and a relative one would then lead nowhere.
    real = Path(os.path.realpath(source))
    with atomic_path(target) as temporary:
        try:
            os.link(real, temporary)
        except OSError:
            shutil.copyfile(real, temporary)
        if temporary.stat().st_size != real.stat().st_size:
            raise OSError(
                f"the copy of {source} has {temporary.stat().st_size} bytes, not {real.stat().st_size}"
            )


def _images(trajectory: Trajectory, rows: np.ndarray, camera: str, size: tuple[int, int]) -> np.ndarray:
    """Return a camera's frames, uint8 `[T, H, W, 3]`, after checking their size."""
    frames = trajectory.frames(rows, camera).permute(0, 2, 3, 1).numpy()
    if frames.shape[1:] != (*size, 3):
        raise DataError(
            f"{trajectory.name}: frames of {camera} have shape {list(frames.shape[1:])}, expected {[*size, 3]} as in "
            "the episodes before."
        )
    return frames
