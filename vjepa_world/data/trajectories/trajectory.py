"""A trajectory, and the interface of a dataset of trajectories, independent of the file format.

Shapes: T observations, S state size, A action size, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention

#: Columns, bool of each row, that recordings of an environment with an object have: what happens there.
EVENTS = ("contact", "object_moving", "object_lifted")


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """The span of a video file that shows one camera of an episode.

    Args:
        path: The file; episodes may share one.
        from_s: Begin of the episode in the file [s].
        to_s: End of the episode, the display of its last frame included [s].
        times_s: Time of each row's frame from `from_s` [s], float64 `[T]`; None if it equals `timestamps_s`.
    """

    path: Path
    from_s: float
    to_s: float
    times_s: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode: observations 0 .. T-1, and the action that led from each to the next.

    Numbers have the types and the convention of their file.

    Args:
        index: Its index in the dataset.
        name: Its name in messages: the file, and the episode in it.
        fps: Observations per second.
        states: Floating point `[T, S]`.
        actions: Floating point `[T-1, A]`; `actions[t]` was taken at observation t.
        timestamps_s: Time from the first observation [s], float64 `[T]`.
        cameras: Names of the cameras; the first is the default.
        load_frames: Decodes a camera's frames at given rows; use `frames`.
        task: What the robot did, in words, at the first row; empty if unknown.
        row_tasks: What it did at each row, T texts; () if it is `task` at all rows.
        extrinsics: By camera, its pose in the robot's base, x y z [m] and extrinsic xyz Euler [rad], `[T, 6]`.
        intrinsics: By camera, its matrix [pixels], `[3, 3]`.
        success: Whether the task succeeded; None if unknown.
        columns: All other columns by name: numbers `[T, ...]` in their own type, or texts, an object array `[T]`.
        last_action: The file's action `[A]` for the last observation, which led to no other; None if there is none.
        videos: By camera, the video file of its frames; empty if frames are images or arrays.
        seed: The seed that the environment was reset with; None if there was no environment, or it is not known.
    """

    index: int
    name: str
    fps: float
    states: np.ndarray
    actions: np.ndarray
    timestamps_s: np.ndarray
    cameras: tuple[str, ...]
    load_frames: Callable[[str, np.ndarray], Tensor] = field(repr=False)
    task: str = ""
    row_tasks: tuple[str, ...] = ()
    extrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    intrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    success: bool | None = None
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    last_action: np.ndarray | None = None
    videos: Mapping[str, VideoSpan] = field(default_factory=dict)
    seed: int | None = None

    def __len__(self) -> int:
        return len(self.states)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task of the episode once, in the order of its rows; () if unknown."""
        return tuple(text for text in dict.fromkeys((self.task, *self.row_tasks)) if text)

    def frames(self, rows: Sequence[int] | np.ndarray | None = None, camera: str | None = None) -> Tensor:
        """Return images, uint8 `[N, C, H, W]`.

        Args:
            rows: Rows of the episode, from 0, `[N]`; None takes all.
            camera: The camera's name; None takes the first.

        Raises:
            DataError: There is no such camera or row, or the images cannot be decoded.
        """
        name = self.cameras[0] if camera is None and self.cameras else camera
        if name not in self.cameras:
            raise DataError(
                f"{self.name} has no camera '{camera or ''}'; its cameras: {', '.join(self.cameras) or 'none'}."
            )
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64)
        if not wanted.size:
            raise DataError(f"{self.name}: frames of no rows were asked for; give at least one row.")
        outside = wanted[(wanted < 0) | (wanted >= len(self))]
        if outside.size:
            raise DataError(f"{self.name} has no row {outside[0]}; it has {len(self)}, counted from 0.")
        return self.load_frames(str(name), wanted)


class TrajectoryDataset(Protocol):
    """Trajectories with the same states, actions and cameras, read from files or memory."""

    #: Name of the format.
    format: str

    @property
    def path(self) -> Path:
        """The folder or file."""
        ...

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        ...

    @property
    def fps(self) -> float:
        """Observations per second."""
        ...

    @property
    def state_names(self) -> tuple[str, ...]:
        """One name for each entry of the state."""
        ...

    @property
    def action_names(self) -> tuple[str, ...]:
        """One name for each entry of the action."""
        ...

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras; the first is the default; () without images."""
        ...

    @property
    def convention(self) -> Convention:
        """How states and actions are written, as the dataset declares or its format defines."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """Further information, for reports.

        `robot` is the robot's name. `left_out` gives the reason for each part of the files that is not read, by name.
        Recordings of an environment have `environment`, which describes it, and `episode_seeds`.
        """
        ...

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are read and checked now, its frames on request.

        Raises:
            DataError: There is no such episode, or it is unusable (file, episode and row are named).
        """
        ...

    def fingerprint(self) -> str:
        """Return a hash that changes when the dataset does; for files a cheap one of names, sizes and times."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...
