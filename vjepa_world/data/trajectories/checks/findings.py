"""The input of the checks of trajectories, and their findings.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vjepa_world.data.trajectories.standardise import read_poses
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention

Severity = Literal["error", "warning", "note"]

#: The worst first.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A finding about a dataset.

    Attributes:
        check: Name of the check.
        severity: error: training on the data learns something wrong; warning: it probably does; note: information.
        message: What was found, what was expected, what to do.
        episode: The first episode concerned; None if the whole dataset is.
        row: The first row of that episode, from 0.
    """

    check: str
    severity: Severity
    message: str
    episode: int | None = None
    row: int | None = None

    @property
    def location(self) -> str:
        """Episode and row as text."""
        parts = [
            f"{name} {value}"
            for name, value in (("episode", self.episode), ("row", self.row))
            if value is not None
        ]
        return ", ".join(parts) or "dataset"


@dataclass(frozen=True, kw_only=True)
class CheckInput:
    """The data that checks examine.

    Attributes:
        episodes: The trajectories as their files have them.
        convention: How their numbers are written, as declared.
        state_names: One name for each entry of a state.
        action_names: One name for each entry of an action.
        poses: Standard poses of each episode [m, rad, closure], float64 `[T, 7]`; None if they cannot be read.
    """

    episodes: Sequence[Trajectory]
    convention: Convention
    state_names: Sequence[str]
    action_names: Sequence[str]
    poses: Sequence[np.ndarray | None] = ()

    def with_poses(self) -> Iterator[tuple[Trajectory, np.ndarray]]:
        """Yield the episodes that have poses, and their poses `[T, 7]`."""
        for episode, poses in zip(self.episodes, self.poses, strict=True):
            if poses is not None:
                yield episode, poses

    def state_name(self, index: int) -> str:
        """Return the index and the name of an entry of the state."""
        named = index < len(self.state_names)
        return f"state {index}" + (f" ({self.state_names[index]})" if named else "")


Check = Callable[[CheckInput], Iterable[Finding]]


def prepare_check_input(
    episodes: Sequence[Trajectory],
    convention: Convention,
    state_names: Sequence[str],
    action_names: Sequence[str],
) -> tuple[CheckInput, list[Finding]]:
    """Read the poses of the episodes; poses that cannot be read by the convention are findings."""
    poses: list[np.ndarray | None] = []
    findings = []
    for episode in episodes:
        try:
            poses.append(read_poses(episode, convention).numpy() if convention.has_pose else None)
        except DataError as error:
            poses.append(None)
            findings.append(
                Finding(check="convention", severity="error", message=str(error), episode=episode.index)
            )
    data = CheckInput(
        episodes=episodes,
        convention=convention,
        state_names=state_names,
        action_names=action_names,
        poses=poses,
    )
    return data, findings


def first_row(mask: np.ndarray) -> int | None:
    """Return the first row at which a mask `[T]` or `[T, ...]` is true; None if there is none."""
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    return int(rows[0]) if rows.size else None


def first_location(masks: Iterable[tuple[Trajectory, np.ndarray]]) -> tuple[int | None, int | None]:
    """Return the first episode and row at which a mask `[T]` is true."""
    for episode, mask in masks:
        row = first_row(mask)
        if row is not None:
            return episode.index, row
    return None, None
