"""What a trajectory is, whatever the file format it comes from.

Shapes: T observations, S state size, A action size, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode: observations 0 .. T-1, and the action that led from each to the next.

    Args:
        index: its place in the dataset.
        task: what the robot did, in words; empty where the dataset does not say.
        fps: observations a second.
        states: float32 [T,S].
        actions: float32 [T-1,A]; actions[t] was taken at observation t.
        timestamps_s: float64 [T], seconds from the first observation.
        load_frames: decodes the frames at given rows; use `frames`.
    """

    index: int
    task: str
    fps: float
    states: np.ndarray
    actions: np.ndarray
    timestamps_s: np.ndarray
    load_frames: Callable[[np.ndarray], Tensor] = field(repr=False)

    def __len__(self) -> int:
        return len(self.states)

    def frames(self, rows: Sequence[int] | None = None) -> Tensor:
        """Return the images at these rows (all, in order, when None), uint8 [len(rows),C,H,W].

        Raises:
            DataError: the images cannot be decoded.
        """
        return self.load_frames(np.arange(len(self)) if rows is None else np.asarray(rows, dtype=np.int64))


class TrajectoryDataset(Protocol):
    """A set of trajectories with the same state and action."""

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

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its frames are decoded when asked for."""
        ...
