"""Reads a LeRobotDataset v3.0, whoever wrote it. What is wrong with one is named by file, episode and row.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
from torch import Tensor

from vjepa_world.data.trajectories.base import Trajectory
from vjepa_world.data.trajectories.lerobot_format import ACTION, STATE
from vjepa_world.data.trajectories.lerobot_meta import Episode, LeRobotMeta, is_lerobot, read_columns
from vjepa_world.data.trajectories.lerobot_writer import LeRobotWriter, finished_shards
from vjepa_world.data.video_pool import VideoPool
from vjepa_world.errors import DataError

__all__ = ["Episode", "LeRobotDataset", "LeRobotMeta", "LeRobotWriter", "finished_shards", "is_lerobot"]

_OPEN_DATA_FILES = 8


class LeRobotDataset:
    """The trajectories of a LeRobotDataset v3.0 folder, read when asked for.

    Args:
        path: the folder that has `meta/info.json`.
        camera: the video feature to read; None takes the first.
        state: the feature that is the state.
        action: the feature that is the action.
        open_videos: how many videos stay open.

    Raises:
        DataError: unfinished, of another version, features or files missing, counts that disagree.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        camera: str | None = None,
        state: str = STATE,
        action: str = ACTION,
        open_videos: int = 16,
    ) -> None:
        self.meta = LeRobotMeta(path)
        self.path = self.meta.path
        self.camera = self.meta.camera(camera)
        self._state, self._action = state, action
        self.state_names = self._names(state)
        self.action_names = self._names(action)
        self.episodes = self.meta.episodes(self.camera)
        self._pool = VideoPool(open_videos)
        self._columns: dict[Path, dict[str, np.ndarray]] = {}

    @property
    def num_episodes(self) -> int:
        """How many episodes there are."""
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """How many observations there are in all episodes."""
        return sum(episode.length for episode in self.episodes)

    @property
    def fps(self) -> float:
        """Observations a second."""
        return self.meta.fps

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are read and checked now, its frames when asked for.

        Raises:
            DataError: no such episode; rows missing, doubled or not finite (file, episode and row are named).
        """
        if not 0 <= index < self.num_episodes:
            raise DataError(
                f"{self.path} has no episode {index}: it has {self.num_episodes}, counted from 0."
            )
        episode = self.episodes[index]
        rows = self._rows(episode)
        timestamps_s = rows["timestamp"].astype(np.float64)
        return Trajectory(
            index=index,
            task=episode.task,
            fps=self.fps,
            states=rows[self._state],
            # The last row's action leads to no observation.
            actions=rows[self._action][:-1],
            timestamps_s=timestamps_s,
            load_frames=functools.partial(self._frames, episode, timestamps_s),
        )

    def _frames(self, episode: Episode, timestamps_s: np.ndarray, rows: np.ndarray) -> Tensor:
        bad = rows[(rows < 0) | (rows >= episode.length)]
        if bad.size:
            raise DataError(
                f"Episode {episode.index} of {self.path} has no row {bad[0]}: it has {episode.length}."
            )
        video = self._pool.get(episode.video_path)
        last_s = episode.from_s + timestamps_s[-1]
        if last_s > video.duration_s - 0.5 / video.fps:
            raise DataError(
                f"{episode.video_path} ends at {video.duration_s:.3f} s, but episode {episode.index} has "
                f"{episode.length} rows, the last at {last_s:.3f} s. Copy the dataset whole, or record it again."
            )
        return video.frames_at(episode.from_s + timestamps_s[rows])

    def _rows(self, episode: Episode) -> dict[str, np.ndarray]:
        """Return the episode's columns, checked."""
        columns = self._read(episode.data_path)
        rows = np.flatnonzero(columns["episode_index"] == episode.index)
        where = f"{episode.data_path}, episode {episode.index}"
        if len(rows) != episode.length:
            raise DataError(
                f"{where}: {len(rows)} rows, but meta/episodes says {episode.length}. Copy the dataset whole, or "
                f"record it again."
            )
        result = {name: column[rows] for name, column in columns.items()}
        if not np.array_equal(result["frame_index"], np.arange(len(rows))):
            raise DataError(f"{where}: frame_index does not count 0, 1, 2, ... Record the episode again.")
        for key in (self._state, self._action, "timestamp"):
            bad = np.flatnonzero(~np.isfinite(result[key]).reshape(len(rows), -1).all(axis=1))
            if bad.size:
                raise DataError(
                    f"{where}, row {bad[0]}: {key} is not finite: {result[key][bad[0]].tolist()}. Take the episode "
                    f"out of the data, or record it again."
                )
        return result

    def _read(self, file: Path) -> dict[str, np.ndarray]:
        """Return a data file's columns: state and action float32 [rows, n], the others [rows]."""
        if file not in self._columns:
            while len(self._columns) >= _OPEN_DATA_FILES:
                self._columns.pop(next(iter(self._columns)))
            vectors = (self._state, self._action)
            table = read_columns(file, [*vectors, "timestamp", "frame_index", "episode_index"])
            self._columns[file] = {
                name: _vectors(table[name], file, name, len(self._names(name)))
                if name in vectors
                else table[name].to_numpy()
                for name in table.column_names
            }
        return self._columns[file]

    def _names(self, key: str) -> tuple[str, ...]:
        feature = self.meta.features.get(key)
        if feature is None or len(feature["shape"]) != 1 or not feature["dtype"].startswith(("float", "int")):
            raise DataError(
                f"{self.path} has no vector feature '{key}'; its features: {', '.join(self.meta.features)}. Choose "
                f"which of them is the state and which the action."
            )
        names = feature.get("names")
        if isinstance(names, dict):  # some writers group them: {"motors": [...]}
            names = [name for group in names.values() for name in group]
        size = int(feature["shape"][0])
        return tuple(names) if names and len(names) == size else tuple(f"{key}_{i}" for i in range(size))


def _vectors(column: pa.ChunkedArray, file: Path, name: str, size: int) -> np.ndarray:
    """Return a column of lists, or of single numbers, as float32 [rows, size]."""
    array = column.combine_chunks()
    lists = isinstance(array, pa.FixedSizeListArray | pa.ListArray)
    flat = (array.flatten() if lists else array).to_numpy(zero_copy_only=False)
    if len(flat) != len(array) * size:
        raise DataError(
            f"{file}: column {name} does not have {size} numbers in each row. Record the dataset again."
        )
    return flat.reshape(len(array), size).astype(np.float32)
