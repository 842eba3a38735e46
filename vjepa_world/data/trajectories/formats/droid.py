"""Reads raw DROID recordings: a folder for each trajectory with HDF5 numbers, MP4 videos and JSON metadata.

    trajectory.h5         observation/robot_state/{cartesian_position [T, 6], gripper_position [T]}
                          observation/camera_extrinsics/SERIAL_left [T, 6], action/...
    metadata_UUID.json    {left,right,wrist}_mp4_path, success, current_task
    recordings/MP4/SERIAL.mp4

Row t is the video's frame t, at 15 Hz. cartesian_position is x y z [m] and extrinsic xyz Euler angles [rad] in the
robot's base, gripper_position 0 open and 1 closed: V-JEPA 2-AC's own convention.

Shapes: T observations of an episode.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.formats.droid_folders import find_trajectories
from vjepa_world.data.trajectories.formats.hdf5 import (
    has_dataset,
    list_arrays,
    open_hdf5,
    read_array,
    row_columns,
)
from vjepa_world.data.trajectories.trajectory import Trajectory, VideoSpan
from vjepa_world.data.video.pool import VideoPool
from vjepa_world.data.video.reader import probe_video
from vjepa_world.errors import DataError
from vjepa_world.files.validation import inner_path, text
from vjepa_world.ops.convention import Convention

_NUMBERS = "trajectory.h5"
_STATE = ("observation/robot_state/cartesian_position", "observation/robot_state/gripper_position")
_ACTION = ("action/cartesian_position", "action/gripper_position")
_NAMES = ("x", "y", "z", "roll", "pitch", "yaw", "closure")
_SIZES = (6, 1)
# The first is the camera that V-JEPA 2-AC uses. Early metadata has ext1 and ext2 instead of left and right.
_CAMERAS = ("left", "right", "ext1", "ext2", "wrist")
_FPS = 15.0
_FIRST_EPISODES = 16  # readable trajectories whose cameras are collected: one may lack a video


@dataclass(frozen=True)
class _Metadata:
    """The used content of a trajectory's JSON file."""

    videos: Mapping[str, Path]
    task: str
    success: bool | None


class DROIDDataset:
    """The trajectories of a DROID folder, or of a list of such folders, read on request.

    Actions are the commanded poses (`action/cartesian_position`, `gripper_position`), or, in files without them, the
    next poses; the format's default convention uses neither: actions are derived from states.

    Args:
        path: A folder with trajectory folders anywhere below it, or a CSV file with the path of one in the first
            column of each line (separated by spaces or commas; paths may be relative to the file's folder).
        convention: How states and actions are written; None takes DROID's.
        cameras: Some of left, right and wrist; None takes all that any of the first trajectories has.
        fps: Rows per second; None takes 15.
        open_videos: Number of videos that stay open.

    Raises:
        DataError: No trajectory, none that is readable, or no such camera.
        ConfigError: `fps` is not a positive number.
    """

    format = "droid"
    state_names = _NAMES
    action_names = _NAMES

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        convention: Convention | None = None,
        cameras: Sequence[str] | None = None,
        fps: float | None = None,
        open_videos: int = 128,
    ) -> None:
        self.path = Path(path)
        self.convention = convention or Convention()
        self.fps = reader_helpers.check_fps(fps, _FPS)
        self._folders = find_trajectories(self.path)
        self.cameras = reader_helpers.choose_cameras(cameras, self._available_cameras(), self.path)
        self._pool = VideoPool(open_videos)
        self._convention_from = "convention=" if convention else "DROID's format"

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self._folders)

    @property
    def about(self) -> Mapping[str, Any]:
        """The robot, the origin of the convention, and the parts of a trajectory that are not read."""
        found = {"robot": "Franka Panda", "convention from": self._convention_from}
        left_out = reader_helpers.first_readable(self.num_episodes, self._left_out, self.path)
        return {**found, "left_out": left_out} if left_out else found

    def episode(self, index: int) -> Trajectory:
        """Return an episode; numbers and headers of videos are read and checked now, frames on request.

        Raises:
            DataError: No such episode; files, arrays or rows are missing; a video is shorter than its rows; a number
                is not finite.
        """
        reader_helpers.check_index(self.path, index, self.num_episodes)
        folder = self._folders[index]
        where = f"{folder} (episode {index})"
        metadata = _read_metadata(folder, where)
        with open_hdf5(folder / _NUMBERS, where) as file:
            states = _pose(file, _STATE, where, None)
            reader_helpers.check_length(len(states), where)
            commanded = all(has_dataset(file, name, where) for name in _ACTION)
            actions = _pose(file, _ACTION, where, len(states)) if commanded else states[1:]
            videos = {name: _video(metadata, name, len(states), where) for name in self.cameras}
            extrinsics = _extrinsics(file, videos, len(states), where)
            columns, _ = _columns(file, len(states), where)
        return Trajectory(
            index=index,
            name=where,
            fps=self.fps,
            states=states,
            actions=actions[: len(states) - 1],
            timestamps_s=np.arange(len(states)) / self.fps,
            cameras=self.cameras,
            load_frames=functools.partial(self._frames, videos),
            task=metadata.task,
            extrinsics=extrinsics,
            success=metadata.success,
            columns=columns,
            last_action=actions[-1] if commanded else None,
            videos=videos,
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the trajectories' files or the list of them do."""
        listed = [self.path] if self.path.is_file() else []
        files = (file for folder in self._folders for file in _files(folder))
        return reader_helpers.fingerprint([*listed, *files], self.path)

    def close(self) -> None:
        """Close all videos."""
        self._pool.close()

    def _available_cameras(self) -> tuple[str, ...]:
        """Return the cameras of which any of the first readable trajectories has a video."""

        def available(index: int) -> set[str]:
            folder = self._folders[index]
            videos = _read_metadata(folder, f"{folder} (episode {index})").videos
            return {name for name, file in videos.items() if file.is_file()}

        seen = set().union(
            *reader_helpers.some_readable(self.num_episodes, available, self.path, most=_FIRST_EPISODES)
        )
        return tuple(name for name in _CAMERAS if name in seen)

    def _left_out(self, index: int) -> dict[str, str]:
        """Return the arrays and cameras of an episode that are not read, with reasons."""
        folder = self._folders[index]
        where = f"{folder} (episode {index})"
        with open_hdf5(folder / _NUMBERS, where) as file:
            rows = len(_pose(file, _STATE, where, None))
            left_out = _columns(file, rows, where)[1]
        named = _read_metadata(folder, where).videos
        missing = {
            name: f"camera: {file.name} is missing" for name, file in named.items() if not file.is_file()
        }
        return {**left_out, **missing}

    def _frames(self, videos: dict[str, VideoSpan], camera: str, rows: np.ndarray) -> Tensor:
        return self._pool.get(videos[camera].path).frames_by_index(rows.tolist())


def _video(metadata: _Metadata, camera: str, rows: int, where: str) -> VideoSpan:
    """Return the camera's video, after checking in its header that it has a frame for every row."""
    file = metadata.videos.get(camera)
    if file is None or not file.is_file():
        raise DataError(
            f"{where} has no video of camera {camera}{f' ({file})' if file else ''}. Copy it whole, or choose others "
            "with cameras=."
        )
    info = probe_video(file)
    if info.num_frames < rows:
        raise DataError(
            f"{where}: {file} has {info.num_frames} frames, and {_NUMBERS} has {rows} rows. Take the episode out, or "
            "copy it again."
        )
    # By the video's own rate, which may differ from 15 frames per second.
    return VideoSpan(path=file, from_s=0.0, to_s=rows / info.fps, times_s=np.arange(rows) / info.fps)


def _read_metadata(folder: Path, where: str) -> _Metadata:
    if not folder.is_dir():
        raise DataError(f"{where} is not a folder. Check the list, or copy the dataset whole.")
    files = sorted(folder.glob("metadata_*.json")) or sorted(folder.glob("*.json"))
    if not files:
        raise DataError(
            f"{where} has no metadata_*.json, which names its cameras and is written when a recording is complete. "
            "Copy it whole, or take it out."
        )
    found = reader_helpers.read_json(files[0])
    paths = {
        name: text(found[f"{name}_mp4_path"], f"{files[0]}: {name}_mp4_path")
        for name in _CAMERAS
        if found.get(f"{name}_mp4_path")
    }
    if "left" in paths or "right" in paths:
        # ext1 and ext2 are the same two cameras under other names.
        paths = {name: path for name, path in paths.items() if not name.startswith("ext")}
    success, task = found.get("success"), found.get("current_task") or ""
    return _Metadata(
        # The paths are those on the recorder's disk: only their last part is valid here.
        videos={
            name: inner_path(
                folder / "recordings" / "MP4", PurePosixPath(path).name, f"{files[0]}: {name}_mp4_path"
            )
            for name, path in paths.items()
        },
        task=text(task, f"{files[0]}: current_task"),
        success=success if isinstance(success, bool) else None,
    )


def _pose(file: Any, names: tuple[str, ...], where: str, rows: int | None) -> np.ndarray:
    parts = []
    for name, size in zip(names, _SIZES, strict=True):
        values = read_array(file, name, where)
        parts.append(reader_helpers.number_rows(values, where=where, what=name, rows=rows, size=size))
        rows = len(values)
    return reader_helpers.concatenate_columns(parts)


def _extrinsics(file: Any, videos: Mapping[str, VideoSpan], rows: int, where: str) -> dict[str, np.ndarray]:
    """Return the pose of each camera's left eye, the one in its video [m, rad], `[T, 6]`, if the file has it."""
    found = {}
    for camera, video in videos.items():
        name = f"observation/camera_extrinsics/{video.path.stem}_left"
        if has_dataset(file, name, where):
            values = read_array(file, name, where)
            found[camera] = reader_helpers.number_rows(values, where=where, what=name, rows=rows, size=6)
    return found


def _columns(file: Any, rows: int, where: str) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the other numeric arrays with an entry for each row, and reasons for those left out."""
    listing = list_arrays(file, where)
    used = (*_STATE, *_ACTION, *(name for name in listing.arrays if "camera_extrinsics" in name))
    return row_columns(listing, used, rows, where)


def _files(folder: Path) -> list[Path]:
    return [
        folder / _NUMBERS,
        *sorted(folder.glob("*.json")),
        *sorted(folder.glob("recordings/MP4/*.mp4")),
    ]
