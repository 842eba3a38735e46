"""Writes a LeRobotDataset v3.0 from many processes: each writes shards, and one `finalize` gathers them.

A shard is a folder `.shards/shard-NNNNN` of one MP4 and one parquet with some episodes. It appears under that name
only when complete, so a killed recording goes on with the shards that are missing. `meta/info.json` is written last:
a folder without it is unfinished.

Shapes: T observations of an episode, S state size, A action size, H W pixels.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vjepa_world.data.atomic import write_error
from vjepa_world.data.trajectories import lerobot_format as layout
from vjepa_world.data.trajectories.lerobot_format import ACTION, STATE, DatasetSpec
from vjepa_world.data.trajectories.lerobot_gather import Shard, gather
from vjepa_world.data.trajectories.statistics import image_histogram
from vjepa_world.data.video_writer import VideoWriter
from vjepa_world.errors import DataError

_SHARD_NAME = re.compile(r"shard-(\d{5,})")


class ShardWriter:
    """Some episodes of a dataset, written by one process.

    A context manager: it commits when its block ends well, and else leaves nothing.
    """

    def __init__(self, folder: Path, spec: DatasetSpec) -> None:
        self._folder = folder
        self._spec = spec
        self._temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
        self._episodes: list[dict[str, Any]] = []
        self._tables: list[pa.Table] = []
        self._histograms: list[np.ndarray] = []
        # A killed process of this shard may have left its half behind.
        for stale in folder.parent.glob(f"{folder.name}.*.tmp"):
            shutil.rmtree(stale, ignore_errors=True)
        try:
            self._temporary.mkdir(parents=True)
        except OSError as error:
            raise write_error(folder, error) from error
        self._video = VideoWriter(self._temporary / "video.mp4", spec.fps)

    def add_episode(
        self, frames: np.ndarray | Sequence[np.ndarray], states: np.ndarray, actions: np.ndarray, *, task: str
    ) -> None:
        """Append one episode: observation t, and the action taken there, for every t but the last.

        Args:
            frames: uint8 [T,H,W,3], T at least 2.
            states: float [T,S], finite.
            actions: float [T-1,A], finite; the last row of the file gets zeros.
            task: what the robot did, in words.

        Raises:
            DataError: other shapes or types, values that are not finite, or a full disk.
        """
        frames = np.asarray(frames)
        states, actions = self._checked(frames, np.asarray(states), np.asarray(actions))
        for t, frame in enumerate(frames):
            self._video.write(frame, keyframe=t == 0)
        length = len(frames)
        padded = np.concatenate([actions, np.zeros((1, actions.shape[1]), np.float32)])
        steps = np.arange(length)
        columns = {
            STATE: _fixed_lists(states),
            ACTION: _fixed_lists(padded),
            "timestamp": pa.array((steps / self._spec.fps).astype(np.float32)),
            "frame_index": pa.array(steps),
            # The places in the whole dataset are known only when the shards are gathered.
            "episode_index": pa.array(np.full(length, len(self._episodes))),
            "index": pa.array(steps),
            "task_index": pa.array(np.zeros(length, np.int64)),
        }
        self._tables.append(pa.table(columns, schema=self._spec.data_schema()))
        self._histograms.append(image_histogram(frames))
        self._episodes.append({"length": length, "task": task})

    def commit(self) -> None:
        """Make the shard count as finished.

        Raises:
            DataError: no episode was added, or the disk is full; nothing is kept then.
        """
        if not self._episodes:
            self.discard()
            raise DataError(f"Shard {self._folder} has no episode, expected at least one.")
        try:
            self._video.close()
            with pq.ParquetWriter(self._temporary / "data.parquet", self._spec.data_schema()) as writer:
                for table in self._tables:  # one row group an episode: any one is read alone
                    writer.write_table(table)
            np.save(self._temporary / "histograms.npy", np.stack(self._histograms))
            text = json.dumps({"spec": self._spec.to_dict(), "episodes": self._episodes})
            (self._temporary / "shard.json").write_text(text, encoding="utf-8")
            os.rename(self._temporary, self._folder)
        except (OSError, DataError) as error:
            shutil.rmtree(self._temporary, ignore_errors=True)
            raise (write_error(self._folder, error) if isinstance(error, OSError) else error) from error

    def discard(self) -> None:
        """Throw the shard away."""
        self._video.discard()
        shutil.rmtree(self._temporary, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()

    def _checked(
        self, frames: np.ndarray, states: np.ndarray, actions: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        spec, length = self._spec, len(frames)
        expected = {
            "frames": (frames, (max(length, 2), *spec.image_shape)),
            "states": (states, (length, len(spec.state_names))),
            "actions": (actions, (length - 1, len(spec.action_names))),
        }
        where = f"Episode {len(self._episodes)} of shard {self._folder}"
        for name, (array, shape) in expected.items():
            if array.shape != shape:
                raise DataError(f"{where}: {name} have shape {array.shape}, expected {shape}.")
        if frames.dtype != np.uint8:
            raise DataError(f"{where}: frames are {frames.dtype}, expected uint8.")
        for name, array in (("state", states), ("action", actions)):
            bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
            if bad.size:
                raise DataError(
                    f"{where}: the {name} of row {bad[0]} is not finite: {array[bad[0]].tolist()}."
                )
        return states.astype(np.float32), actions.astype(np.float32)


class LeRobotWriter:
    """Makes one LeRobotDataset v3.0 in `root`, shard by shard; small, and may be sent to worker processes.

    Args: see `DatasetSpec`; `root` is the dataset's folder.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        fps: int,
        image_shape: tuple[int, int, int],
        state_names: Sequence[str],
        action_names: Sequence[str],
        robot_type: str,
        camera: str = "main",
    ) -> None:
        self.root = Path(root)
        self.spec = DatasetSpec(
            fps=fps,
            image_shape=image_shape,
            state_names=tuple(state_names),
            action_names=tuple(action_names),
            robot_type=robot_type,
            camera=camera,
        )

    @property
    def is_finished(self) -> bool:
        """Whether the dataset is complete and readable."""
        return (self.root / layout.INFO_PATH).exists()

    def shard(self, index: int) -> ShardWriter:
        """Start shard `index`; episodes come in the order of shards.

        Raises:
            DataError: that shard, or the whole dataset, is already finished; or the folder cannot be written.
        """
        folder = self._shard_folder(index)
        if self.is_finished or folder.exists():
            what = f"shard {index} of it" if folder.exists() else "it"
            raise DataError(
                f"Cannot record into {self.root}: {what} is finished. Choose another folder or name."
            )
        return ShardWriter(folder, self.spec)

    def finished_shards(self) -> list[int]:
        """Return the indices of the complete shards, sorted.

        Raises:
            DataError: a shard was recorded with other settings than this writer's.
        """
        indices = finished_shards(self.root)
        for index in indices:
            self._load(index)
        return indices

    def num_recorded(self) -> tuple[int, int]:
        """Return how many episodes and frames the complete shards hold."""
        lengths = [length for index in finished_shards(self.root) for length in self._load(index).lengths]
        return len(lengths), sum(lengths)

    def finalize(self) -> Path:
        """Gather the finished shards into the v3.0 layout and return the folder; safe to repeat when killed.

        Raises:
            DataError: no shard is finished, a shard differs in its settings, or the disk is full.
        """
        if not self.is_finished:
            shards = [self._load(index) for index in self.finished_shards()]
            if not shards:
                raise DataError(
                    f"Nothing to gather in {self.root}: no shard is finished. Record episodes first."
                )
            gather(self.root, self.spec, shards)
        shutil.rmtree(self.root / layout.SHARDS, ignore_errors=True)
        return self.root

    def _shard_folder(self, index: int) -> Path:
        return self.root / layout.SHARDS / f"shard-{index:05d}"

    def _load(self, index: int) -> Shard:
        folder = self._shard_folder(index)
        try:
            record = json.loads((folder / "shard.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(
                f"{folder} is damaged ({error}). Delete it; it is then recorded again."
            ) from error
        theirs, mine = record["spec"], self.spec.to_dict()
        differing = [
            f"{key}: {theirs.get(key)} there, {mine[key]} here"
            for key in mine
            if theirs.get(key) != mine[key]
        ]
        if differing:
            raise DataError(
                f"{folder} was recorded with other settings ({'; '.join(differing)}). Use the same settings to go "
                f"on, or another folder or name to start anew."
            )
        lengths = tuple(episode["length"] for episode in record["episodes"])
        tasks = tuple(episode["task"] for episode in record["episodes"])
        return Shard(folder=folder, lengths=lengths, tasks=tasks)


def finished_shards(root: str | os.PathLike[str]) -> list[int]:
    """Return the indices of the complete shards in a folder that is being recorded, sorted."""
    folder = Path(root) / layout.SHARDS
    matches = (_SHARD_NAME.fullmatch(entry.name) for entry in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match.group(1)) for match in matches if match)


def _fixed_lists(values: np.ndarray) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
