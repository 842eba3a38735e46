"""What a check of trajectories looks at, and what it finds.

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

#: From the worst on.
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something about a dataset that its user should know.

    Attributes:
        check: Which check found it.
        severity: error: training on it teaches something wrong; warning: it likely does; note: good to know.
        message: What was seen, what was expected, what to do.
        episode: Where it was seen first; None where it is about the whole dataset.
        row: The row in that episode, from 0.
    """

    check: str
    severity: Severity
    message: str
    episode: int | None = None
    row: int | None = None

    @property
    def location(self) -> str:
        """Where it was seen, in words."""
        parts = [
            f"{name} {value}"
            for name, value in (("episode", self.episode), ("row", self.row))
            if value is not None
        ]
        return ", ".join(parts) or "dataset"


@dataclass(frozen=True, kw_only=True)
class CheckInput:
    """The numbers that checks look at.

    Attributes:
        episodes: As the files have them.
        convention: How they are said to be written.
        state_names: One for each entry of a state.
        action_names: One for each entry of an action.
        poses: By place in `episodes`, our poses float64 [T,7]; None where they cannot be read so.
    """

    episodes: Sequence[Trajectory]
    convention: Convention
    state_names: Sequence[str]
    action_names: Sequence[str]
    poses: Sequence[np.ndarray | None] = ()

    def with_poses(self) -> Iterator[tuple[Trajectory, np.ndarray]]:
        """Yield the episodes that have poses, with them."""
        for episode, poses in zip(self.episodes, self.poses, strict=True):
            if poses is not None:
                yield episode, poses

    def state_name(self, place: int) -> str:
        """Return what an entry of the state is called, and its place."""
        named = place < len(self.state_names)
        return f"state {place}" + (f" ({self.state_names[place]})" if named else "")


Check = Callable[[CheckInput], Iterable[Finding]]


def prepare_check_input(
    episodes: Sequence[Trajectory],
    convention: Convention,
    state_names: Sequence[str],
    action_names: Sequence[str],
) -> tuple[CheckInput, list[Finding]]:
    """Read the poses of episodes by their convention; those that cannot be read so are findings."""
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
    """Return the first row at which a mask [T] or [T, ...] holds, None if at none."""
    rows = np.flatnonzero(mask.reshape(len(mask), -1).any(axis=1))
    return int(rows[0]) if rows.size else None


def first_location(masks: Iterable[tuple[Trajectory, np.ndarray]]) -> tuple[int | None, int | None]:
    """Return the first episode and row at which a mask holds."""
    for episode, mask in masks:
        row = first_row(mask)
        if row is not None:
            return episode.index, row
    return None, None
