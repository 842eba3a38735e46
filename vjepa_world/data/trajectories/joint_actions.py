"""What the actions of a robot of joints are, by the numbers: positions to reach, or changes.

Shapes: T observations of an episode, J joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np

from vjepa_world.data.trajectories.base import Trajectory, TrajectoryDataset
from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention

#: How much nearer actions are to what they are than to what they are not.
NEARER = 0.2

#: Usable episodes that are looked at when a dataset is opened, and episodes among which these are.
_EPISODES, _AMONG = 3, 10


def action_distances(episodes: Iterable[Trajectory], convention: Convention) -> tuple[float, float] | None:
    """Return the median distances of actions to the next joints, and to the joints' changes.

    None where there is no action that is of the joints.
    """
    to_next, to_change = [], []
    as_targets = replace(convention, actions="target")
    for episode in episodes:
        try:
            ours = standardise(episode, as_targets)
        except DataError:
            continue
        if len(ours.actions):
            to_next.append(np.linalg.norm(ours.actions - ours.states[1:], axis=1))
            to_change.append(np.linalg.norm(ours.actions - np.diff(ours.states, axis=0), axis=1))
    if not to_next:
        return None
    following, change = (float(np.median(np.concatenate(parts))) for parts in (to_next, to_change))
    return following, change


def likely_actions(
    episodes: Iterable[Trajectory], convention: Convention
) -> Literal["target", "delta"] | None:
    """Return what actions are to all appearances; None where it could be either, or neither."""
    distances = action_distances(episodes, convention)
    if distances is None:
        return None
    following, change = distances
    if following < NEARER * change:
        return "target"
    return "delta" if change < NEARER * following else None


def with_likely_actions(dataset: TrajectoryDataset) -> Convention:
    """Return a dataset's convention with what its actions are to all appearances, else with those it has."""
    convention = dataset.convention
    return replace(
        convention, actions=likely_actions(_first_usable(dataset), convention) or convention.actions
    )


def _first_usable(dataset: TrajectoryDataset) -> list[Trajectory]:
    found: list[Trajectory] = []
    for index in range(min(dataset.num_episodes, _AMONG)):
        if len(found) == _EPISODES:
            break
        try:
            found.append(dataset.episode(index))
        except DataError:
            continue  # whoever reads all episodes says which are unusable
    return found
