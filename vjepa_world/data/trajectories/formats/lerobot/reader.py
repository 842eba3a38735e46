"""Reads LeRobotDatasets v3.0 and v2.1 of any writer; errors name file, episode and row.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.declared import read_declared
from vjepa_world.data.trajectories.formats.lerobot.layout import ACTION, STATE
from vjepa_world.data.trajectories.formats.lerobot.metadata import (
    DEPTH_REASON,
    Episode,
    LeRobotMeta,
)
from vjepa_world.data.trajectories.formats.lerobot.rows import RowReader, any_deep, read_images
from vjepa_world.data.trajectories.frame_matching import nearest_frames, on_clock_of_frames
from vjepa_world.data.trajectories.reader_helpers import (
    check_index,
    check_length,
    choose_cameras,
    spans_of,
    spans_text,
)
from vjepa_world.data.trajectories.trajectory import Trajectory, VideoSpan
from vjepa_world.data.video.pool import VideoPool
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.files.validation import finite_number
from vjepa_world.ops.convention import PLAIN, Convention

logger = logging.getLogger(__name__)

#: Instead of the state's feature: there is no state.
NO_STATE = "none"


class LeRobotDataset:
    """The trajectories of a LeRobotDataset folder, read on request.

    Args:
        path: The folder that has `meta/info.json`.
        convention: How states and actions are written; None takes what `meta/vjepa_world.json` declares, else PLAIN.
        cameras: Names of the cameras, the default first; None takes all except depth cameras.
        state: The feature that is the state; none for a robot without one.
        action: The feature that is the action.
        open_videos: Number of videos that stay open.
        tolerance_s: Largest distance of a row's timestamp from its frame [s]; None takes a quarter of the time between
            two frames.

    Raises:
        DataError: The dataset is unfinished or of another version, a feature is missing, metadata are mistyped or out
            of range, a path leaves the folder, or no episode has all of its files.
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
        tolerance_s: float | None = None,
    ) -> None:
        self.meta = LeRobotMeta(path)
        self.path = self.meta.path
        self._declared = read_declared(self.meta.folder)
        self.convention = convention or self._declared.convention or PLAIN
        self._state, self._action = state, action
        self._tolerance_s = tolerance_s
        if tolerance_s is not None:
            finite_number(tolerance_s, "tolerance_s [s]", least=0.0, error=ConfigError)
        recorded_without = bool(self._declared.environment) and STATE not in self.meta.features
        self._has_state = state != NO_STATE and not (state == STATE and recorded_without)
        self.state_names = self._names(state) if self._has_state else ()
        self.action_names = self._names(action)
        self._reader = RowReader(self.meta.features, (state, action) if self._has_state else (action,))
        self._tasks = self.meta.tasks()
        listed = self.meta.episodes()
        self._features = _by_camera([*self.meta.video_keys, *self.meta.image_keys], self.meta.features)
        self._depth = self._find_depth(listed)
        offered = tuple(name for name in self._features if cameras is not None or name not in self._depth)
        self.cameras = choose_cameras(cameras, offered, self.path)
        self.episodes = self._with_files(listed)
        self._earliest_s = _earliest(listed)
        self._pool = VideoPool(open_videos)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """Number of observations of all episodes."""
        return sum(episode.length for episode in self.episodes)

    @property
    def fps(self) -> float:
        """Observations per second."""
        return self.meta.fps

    @property
    def about(self) -> Mapping[str, Any]:
        """The robot, the version, each feature's type and shape, the environment with seeds, and what is not read."""
        features = {
            name: f"{entry['dtype']} {tuple(entry['shape'])}" for name, entry in self.meta.features.items()
        }
        robot = str(self.meta.info.get("robot_type") or "")[:200]
        found: dict[str, Any] = {"robot": robot, "version": self.meta.version, "features": features}
        if self._declared.environment:
            found["environment"] = self._declared.environment
        if self._declared.seeds:
            found["episode_seeds"] = [self._declared.seed(episode.index) for episode in self.episodes]
        left_out = self._left_out()
        return {**found, "left_out": left_out} if left_out else found

    def fingerprint(self) -> str:
        """Return a hash that changes when the dataset's files do."""
        return self.meta.fingerprint()

    def close(self) -> None:
        """Close all videos, and release the cached rows."""
        self._pool.close()
        self._reader.clear()

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are read and checked now, its frames on request.

        Raises:
            DataError: There is no such episode; a file or column is missing; rows are missing, doubled or not finite
                (file, episode and row are named).
        """
        check_index(self.path, index, self.num_episodes)
        episode = self.episodes[index]
        where = f"{episode.data_path}, episode {episode.index}"
        check_length(episode.length, where)
        rows = self._reader.rows(episode)
        actions = self._vectors(rows, self._action, where)
        states = (
            self._vectors(rows, self._state, where)
            if self._has_state
            else np.empty((len(actions), 0), np.float32)
        )
        stamps_s = rows["timestamp"].astype(np.float64)
        _check_finite(stamps_s, where, "timestamp")
        texts = self._row_tasks(rows, episode)
        extrinsics = {name: values for name, values in rows.items() if _is_pose(name, values)}
        return Trajectory(
            index=index,
            name=f"episode {episode.index} of {self.path}",
            fps=self.fps,
            states=states,
            # The last row's action leads to no observation.
            actions=actions[:-1],
            timestamps_s=_clock(rows, stamps_s, where),
            cameras=self.cameras,
            load_frames=functools.partial(self._frames, episode, stamps_s),
            task=texts[0],
            row_tasks=texts if len(set(texts)) > 1 else (),
            extrinsics={name.removeprefix(layout.EXTRINSICS): pose for name, pose in extrinsics.items()},
            intrinsics=self._declared.intrinsics(episode.index),
            success=_success(rows),
            columns={
                name: values
                for name, values in rows.items()
                if self._is_other(name) and name not in extrinsics
            },
            last_action=actions[-1],
            videos=self._videos(episode, stamps_s, where),
            seed=self._declared.seed(episode.index),
        )

    def _is_other(self, name: str) -> bool:
        """Return whether a column has no field of its own in a trajectory."""
        own = (self._state, self._action, layout.CLOCK, *layout.DEFAULT_COLUMNS)
        return name not in own

    def _row_tasks(self, rows: dict[str, np.ndarray], episode: Episode) -> tuple[str, ...]:
        """Return the task of each row: the text of its task index, else the text in the list of episodes."""
        numbers = rows.get("task_index")
        if numbers is None or not self._tasks:
            return (episode.task,) * episode.length
        once, back = np.unique(numbers, return_inverse=True)
        unknown = [number for number in once.tolist() if number not in self._tasks]
        if unknown and len(once) > 1:
            logger.warning(
                "%s, episode %d: task %s is not in the list of tasks, its rows have no text",
                episode.data_path,
                episode.index,
                unknown[0],
            )
        default = episode.task if len(once) == 1 else ""
        texts = [self._tasks.get(number, default) for number in once.tolist()]
        return tuple(texts[number] for number in back)

    def _find_depth(self, listed: Sequence[Episode]) -> dict[str, str]:
        """Return the depth cameras, each with the reason."""
        found = {}
        for name, key in self._features.items():
            if key in self.meta.depth_keys:
                found[name] = DEPTH_REASON
            elif any_deep(listed, key):
                found[name] = "images of more than 8 bits, as depth cameras have: distances are not colours"
        return found

    def _with_files(self, listed: Sequence[Episode]) -> list[Episode]:
        """Return the episodes whose files exist; a dataset may be downloaded in part.

        Raises:
            DataError: There is no episode, or none has all of its files.
        """
        if not listed:
            raise DataError(
                f"{self.path} lists no episode; expected at least one. Copy its whole meta folder."
            )
        exists: dict[Path, bool] = {}
        missing: list[tuple[Episode, Path]] = []
        without: list[int] = []
        for episode in listed:
            if any(
                self._features[camera] in self.meta.video_keys
                and self._features[camera] not in episode.videos
                for camera in self.cameras
            ):
                without.append(episode.index)
                continue
            spans = (episode.videos.get(self._features[camera]) for camera in self.cameras)
            for path in (episode.data_path, *(span.path for span in spans if span is not None)):
                if path not in exists:
                    exists[path] = path.is_file()
                if not exists[path]:
                    missing.append((episode, path))
                    break
        gone = {episode.index for episode, _ in missing}
        if without:
            self.meta.leave_out(
                spans_text(spans_of(without)), "a camera has no video of them; choose others with cameras="
            )
        if len(without) == len(listed):
            raise DataError(
                f"{self.path}: no episode has all of the cameras {', '.join(self.cameras)}. Choose fewer with cameras=."
            )
        if gone and len(gone) + len(without) == len(listed):
            episode, path = missing[0]
            raise DataError(
                f"{path} is missing; episode {episode.index} needs it, and none of the {len(listed)} episodes has all "
                "of its files. Copy the dataset whole."
            )
        if gone:
            self.meta.leave_out(
                spans_text(spans_of(sorted(gone))), f"files are missing, the first {missing[0][1]}"
            )
        gone.update(without)
        return [episode for episode in listed if episode.index not in gone]

    def _left_out(self) -> dict[str, str]:
        """Return the parts of the dataset that are not read, by name, with the reason."""
        depth = {self._features[name]: why for name, why in self._depth.items() if name not in self.cameras}
        columns = self._reader.left_out([episode.data_path for episode in self.episodes])
        return {**self.meta.left_out, **depth, **columns}

    def _videos(self, episode: Episode, stamps_s: np.ndarray, where: str) -> dict[str, VideoSpan]:
        videos = {}
        for camera in self.cameras:
            span = episode.videos.get(self._features[camera])
            if span is None:  # its images are in the data file
                continue
            if not span.path.is_file():
                raise DataError(f"{span.path} is missing; {where} needs it. Copy the dataset whole.")
            videos[camera] = dataclasses.replace(self._extended(span, stamps_s), times_s=stamps_s)
        return videos

    def _extended(self, span: VideoSpan, stamps_s: np.ndarray) -> VideoSpan:
        """Return an episode's span, extended to its last timestamp if the file has only this episode (v2)."""
        if self.meta.version.startswith("v3."):
            return span
        return dataclasses.replace(span, to_s=max(span.to_s, float(stamps_s[-1]) + 1 / self.fps))

    def _frames(self, episode: Episode, stamps_s: np.ndarray, camera: str, rows: np.ndarray) -> Tensor:
        span = episode.videos.get(self._features[camera])
        if span is None:
            return read_images(episode, self._features[camera], rows)
        video = self._pool.get(span.path)
        span = on_clock_of_frames(
            self._extended(span, stamps_s),
            begin_s=video.begin_s,
            earliest_s=self._earliest_s[span.path],
            fps=video.fps,
        )
        last_s = span.from_s + stamps_s[-1]
        if last_s > video.duration_s - 0.5 / video.fps:
            raise DataError(
                f"{span.path} ends at {video.duration_s:.3f} s, but episode {episode.index} has {episode.length} "
                f"rows, the last at {last_s:.3f} s. Copy the dataset whole, or record it again."
            )
        where = f"{episode.data_path}, episode {episode.index}"
        # All rows are matched, so that an episode whose clock does not fit its video is refused as a whole.
        frames = nearest_frames(
            video.starts_s,
            span,
            stamps_s,
            fps=self.fps,
            where=where,
            tolerance_s=self._tolerance_s,
        )
        return video.frames_by_index(frames[rows].tolist())

    def _vectors(self, rows: dict[str, np.ndarray], name: str, where: str) -> np.ndarray:
        """Return a column as floating point `[T, n]`, after checking that it is finite."""
        values = rows[name].reshape(len(rows[name]), -1)
        values = values if values.dtype.kind == "f" else values.astype(np.float64)
        _check_finite(values, where, name)
        return values

    def _names(self, key: str) -> tuple[str, ...]:
        feature = self.meta.features.get(key)
        if feature is None or len(feature["shape"]) != 1 or not feature["dtype"].startswith(("float", "int")):
            raise DataError(
                f"{self.path} has no vector feature '{key}'; its features: {', '.join(self.meta.features)}. Choose "
                "the state and the action among them; state=none is a robot without a state."
            )
        names, size = _flat_names(feature.get("names")), int(feature["shape"][0])
        return tuple(names) if len(names) == size else tuple(f"{key}_{i}" for i in range(size))


def _earliest(episodes: Iterable[Episode]) -> dict[Path, float]:
    """Return the begin of the first episode in each video file [s]."""
    found: dict[Path, float] = {}
    for episode in episodes:
        for span in episode.videos.values():
            found[span.path] = min(span.from_s, found.get(span.path, span.from_s))
    return found


def _success(rows: Mapping[str, np.ndarray]) -> bool | None:
    """Return the success flag of the last row; None if there is none."""
    for name in layout.SUCCESS:
        values = rows.get(name)
        if values is not None and values.size == len(values) and values.dtype.kind in "biuf":
            last = values.reshape(-1)[-1]
            return bool(last) if np.isfinite(last) else None
    return None


def _clock(rows: Mapping[str, np.ndarray], stamps_s: np.ndarray, where: str) -> np.ndarray:
    """Return the times of rows [s], float64 `[T]`: the column for them if it exists, else `stamps_s`."""
    clock_s = rows.get(layout.CLOCK)
    if clock_s is None:
        return stamps_s
    if clock_s.size != len(stamps_s) or clock_s.dtype.kind not in "fiu":
        raise DataError(
            f"{where}: {layout.CLOCK} holds {clock_s.dtype} {list(clock_s.shape[1:])} a row, expected one number. "
            "Remove the column from the file."
        )
    clock_s = clock_s.reshape(-1).astype(np.float64)
    _check_finite(clock_s, where, layout.CLOCK)
    return clock_s


def _is_pose(name: str, values: np.ndarray) -> bool:
    """Return whether a column is a camera's pose at each row, `[T, 6]`."""
    return name.startswith(layout.EXTRINSICS) and values.dtype.kind == "f" and values.shape[1:] == (6,)


def _by_camera(keys: Sequence[str], features: Mapping[str, Any]) -> dict[str, str]:
    """Return the image features by the camera's name, in the order of the dataset's features."""
    found: dict[str, str] = {}
    for key in sorted(keys, key=list(features).index):
        name = layout.camera_name(key)
        found[key if name in found else name] = key
    return found


def _flat_names(names: object) -> list[str]:
    """Return the names of a vector's entries, from a list, a list for each group, or an index for each name."""
    if isinstance(names, str):
        return [names]
    if isinstance(names, dict):
        if names and all(isinstance(index, int) for index in names.values()):
            return sorted(names, key=lambda name: names[name])
        return [name for group in names.values() for name in _flat_names(group)]
    if isinstance(names, list):
        return [name for group in names for name in _flat_names(group)]
    return []


def _check_finite(values: np.ndarray, where: str, name: str) -> None:
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if bad.size:
        raise DataError(
            f"{where}, row {bad[0]}: {name} is not finite: {values[bad[0]].tolist()}. Take the episode out of the "
            f"data, or record it again."
        )
