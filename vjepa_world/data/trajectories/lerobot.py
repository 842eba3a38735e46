"""Reads a LeRobotDataset v3.0 or v2.1, whoever wrote it. What is wrong with one is named by file, episode and row.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from vjepa_world.data.trajectories import lerobot_format as layout
from vjepa_world.data.trajectories.base import Trajectory, VideoPiece
from vjepa_world.data.trajectories.lerobot_declared import read_declared
from vjepa_world.data.trajectories.lerobot_format import ACTION, STATE
from vjepa_world.data.trajectories.lerobot_meta import Episode, LeRobotMeta, is_lerobot
from vjepa_world.data.trajectories.lerobot_rows import RowReader, read_images
from vjepa_world.data.trajectories.lerobot_writer import LeRobotWriter, finished_shards
from vjepa_world.data.trajectories.reading import check_index, check_length, choose_cameras
from vjepa_world.data.video_pool import VideoPool
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

__all__ = ["Episode", "LeRobotDataset", "LeRobotMeta", "LeRobotWriter", "finished_shards", "is_lerobot"]


class LeRobotDataset:
    """The trajectories of a LeRobotDataset folder, read when asked for.

    Args:
        path: the folder that has `meta/info.json`.
        convention: how states and actions are written; None takes what `meta/vjepa_world.json` says, else nothing is
            known of them.
        cameras: names of those to offer, the default first; None takes all.
        state: the feature that is the state.
        action: the feature that is the action.
        open_videos: how many videos stay open.

    Raises:
        DataError: unfinished, of another version, features missing, counts that disagree.
    """

    format = "LeRobotDataset"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        convention: Convention | None = None,
        cameras: tuple[str, ...] | None = None,
        state: str = STATE,
        action: str = ACTION,
        open_videos: int = 128,
    ) -> None:
        self.meta = LeRobotMeta(path)
        self.path = self.meta.path
        self._declared = read_declared(self.path)
        self.convention = convention or self._declared.convention or PLAIN
        pictures = [
            key for key in self.meta.features if key in (*self.meta.video_keys, *self.meta.image_keys)
        ]
        self._features = {layout.camera_name(key): key for key in pictures}
        self.cameras = choose_cameras(cameras, tuple(self._features), self.path)
        self._state, self._action = state, action
        self.state_names = self._names(state)
        self.action_names = self._names(action)
        self.episodes = self.meta.episodes()
        self._pool = VideoPool(open_videos)
        self._reader = RowReader(self.meta.features)

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

    @property
    def about(self) -> Mapping[str, Any]:
        """The robot, the layout's version, and each feature's type and shape."""
        features = {
            name: f"{entry.get('dtype')} {tuple(entry.get('shape', ()))}"
            for name, entry in self.meta.features.items()
        }
        robot = str(self.meta.info.get("robot_type") or "")
        return {"robot": robot, "version": self.meta.version, "features": features}

    def fingerprint(self) -> str:
        """Return a hash that changes when the dataset's files do."""
        return self.meta.fingerprint()

    def close(self) -> None:
        """Close all videos, and forget the rows that were read."""
        self._pool.close()
        self._reader.clear()

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are read and checked now, its frames when asked for.

        Raises:
            DataError: no such episode; a file or column is missing; rows are missing, doubled or not finite (file,
                episode and row are named).
        """
        check_index(self.path, index, self.num_episodes)
        episode = self.episodes[index]
        where = f"{episode.data_path}, episode {index}"
        check_length(episode.length, where)
        rows = self._reader.rows(episode)
        states, actions = (self._vectors(rows, name, where) for name in (self._state, self._action))
        stamps_s = rows["timestamp"].astype(np.float64)
        _check_finite(stamps_s, where, "timestamp")
        flags = next((rows[name] for name in layout.SUCCESS if name in rows), None)
        return Trajectory(
            index=index,
            name=f"episode {index} of {self.path}",
            fps=self.fps,
            states=states,
            # The last row's action leads to no observation.
            actions=actions[:-1],
            timestamps_s=rows.get(layout.CLOCK, stamps_s),
            cameras=self.cameras,
            load_frames=functools.partial(self._frames, episode, stamps_s),
            task=episode.task,
            extrinsics={
                name.removeprefix(layout.EXTRINSICS): rows[name]
                for name in rows
                if name.startswith(layout.EXTRINSICS)
            },
            intrinsics=self._declared.intrinsics(index),
            success=None if flags is None else bool(flags.reshape(-1)[-1]),
            columns={name: values for name, values in rows.items() if self._is_other(name)},
            last_action=actions[-1],
            videos=self._videos(episode, stamps_s, where),
        )

    def _is_other(self, name: str) -> bool:
        """Whether a column has no field of its own in a trajectory."""
        own = (self._state, self._action, layout.CLOCK, *layout.DEFAULT_COLUMNS)
        return name not in own and not name.startswith(layout.EXTRINSICS)

    def _videos(self, episode: Episode, stamps_s: np.ndarray, where: str) -> dict[str, VideoPiece]:
        videos = {}
        for camera in self.cameras:
            piece = episode.videos.get(self._features[camera])
            if piece is None:  # its images are in the data file
                continue
            if not piece.path.is_file():
                raise DataError(f"{piece.path} is missing; {where} needs it. Copy the dataset whole.")
            videos[camera] = dataclasses.replace(piece, times_s=stamps_s)
        return videos

    def _frames(self, episode: Episode, stamps_s: np.ndarray, camera: str, rows: np.ndarray) -> Tensor:
        piece = episode.videos.get(self._features[camera])
        if piece is None:
            return read_images(episode, self._features[camera], rows)
        video = self._pool.get(piece.path)
        last_s = piece.from_s + stamps_s[-1]
        if last_s > video.duration_s - 0.5 / video.fps:
            raise DataError(
                f"{piece.path} ends at {video.duration_s:.3f} s, but episode {episode.index} has {episode.length} "
                f"rows, the last at {last_s:.3f} s. Copy the dataset whole, or record it again."
            )
        return video.frames_at(piece.from_s + stamps_s[rows])

    def _vectors(self, rows: dict[str, np.ndarray], name: str, where: str) -> np.ndarray:
        """Return a column as floating point [T, n], checked."""
        values = rows[name].reshape(len(rows[name]), -1)
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        _check_finite(values, where, name)
        return values

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


def _check_finite(values: np.ndarray, where: str, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if bad.size:
        raise DataError(
            f"{where}, row {bad[0]}: {name} is not finite: {values[bad[0]].tolist()}. Take the episode out of the "
            f"data, or record it again."
        )
