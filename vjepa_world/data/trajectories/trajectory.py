"""What a trajectory is, whatever the file format it comes from.

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


@dataclass(frozen=True, kw_only=True)
class VideoSpan:
    """Where the frames of one camera of an episode lie in a video file, so that the file can be taken as it is.

    Args:
        path: the file; episodes may share one.
        from_s: where the episode begins in it.
        to_s: where it ends, the last frame's time included.
        times_s: float64 [T], when each row's frame is shown, from `from_s`; None where that is `timestamps_s`.
    """

    path: Path
    from_s: float
    to_s: float
    times_s: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode: observations 0 .. T-1, and the action that led from each to the next.

    Numbers are as the file has them, in its own types and convention.

    Args:
        index: its place in the dataset.
        name: what messages call it: the file, and the episode in it.
        fps: observations a second.
        states: floating point [T,S].
        actions: floating point [T-1,A]; actions[t] was taken at observation t.
        timestamps_s: float64 [T], seconds from the first observation.
        cameras: names of the cameras, the first one the default.
        load_frames: decodes a camera's frames at given rows; use `frames`.
        task: what the robot did, in words; empty where the dataset does not say. Of several, the first row's.
        row_tasks: what it did at each row, T texts; () where that is `task` at all of them.
        extrinsics: by camera, [T,6]: the camera's pose in the robot's base, x y z [m] and extrinsic xyz Euler [rad].
        intrinsics: by camera, [3,3] pixels.
        success: whether it was reached, None where the dataset does not say.
        columns: every other column by name: numbers [T, ...] in their own type, or texts, an array of objects [T].
        last_action: [A], what the file has for the last observation, though it led to none; None where it has nothing.
        videos: by camera, the file that its frames are in; empty where frames are no videos (pictures, arrays).
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

    def __len__(self) -> int:
        return len(self.states)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task of the episode once, in the order of its rows; () where the dataset does not say."""
        return tuple(text for text in dict.fromkeys((self.task, *self.row_tasks)) if text)

    def frames(self, rows: Sequence[int] | np.ndarray | None = None, camera: str | None = None) -> Tensor:
        """Return the images at these rows (all, in order, when None), uint8 [len(rows),C,H,W].

        Args:
            rows: Rows of the episode, from 0.
            camera: Its name; None takes the first.

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
    """A set of trajectories with the same states, actions and cameras."""

    #: What the format is called.
    format: str

    @property
    def path(self) -> Path:
        """The folder or file."""
        ...

    @property
    def num_episodes(self) -> int:
        """How many episodes there are."""
        ...

    @property
    def fps(self) -> float:
        """Observations a second."""
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
        """Names of the cameras, the first one the default; () where there are no images."""
        ...

    @property
    def convention(self) -> Convention:
        """How states and actions are written, as the dataset declares it or its format has it."""
        ...

    @property
    def about(self) -> Mapping[str, Any]:
        """What else is known, for people.

        `robot` is its name where there is one. `left_out` says, by name, what of the files is not read and why:
        `inspect` and `convert` list it.
        """
        ...

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are read and checked now, its frames when asked for.

        Raises:
            DataError: there is no such episode, or it is unusable (file, episode and row are named).
        """
        ...

    def fingerprint(self) -> str:
        """Return a hash that changes when the dataset's files do; cheap (names, sizes, times)."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...
