"""Completes a dataset's convention from its names and numbers: where joints are, and what actions of joints mean.

Shapes: T observations of an episode, J joints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import numpy as np

from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention, resolve_joints, same_names

#: Actions mean one thing rather than another if their distance to it is at most this share of the other distance.
CLOSER = 0.2

#: Usable episodes that are read for the decision, and the number of first episodes among which they are searched.
_EPISODES, _AMONG = 3, 10


def infer_convention(dataset: TrajectoryDataset, *, given: bool) -> Convention:
    """Return the dataset's convention, completed from its names and its first episodes.

    States whose names are all names of joints are joints (see `resolve_joints`). If the dataset declares nothing and
    its actions have the states' names, the numbers of the first episodes determine whether they are targets or changes.

    Args:
        dataset: The trajectories, with the convention that they declare.
        given: Whether the user gave this convention, so that actions keep the meaning that it states.
    """
    convention = resolve_joints(dataset.convention, dataset.state_names, dataset.action_names)
    declares_nothing = not given and dataset.convention == PLAIN
    if declares_nothing and convention.has_joints and same_names(dataset.state_names, dataset.action_names):
        actions = likely_actions(_first_usable(dataset), convention)
        return replace(convention, actions=actions or convention.actions)
    return convention


def action_distances(episodes: Iterable[Trajectory], convention: Convention) -> tuple[float, float] | None:
    """Return the median distances of actions to the next joints and to the change of the joints, in the joints' units.

    Returns None if no action can be read as one of the joints.
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
    """Return what the numbers of actions show them to be; None if that is not clear."""
    distances = action_distances(episodes, convention)
    if distances is None:
        return None
    following, change = distances
    if following < CLOSER * change:
        return "target"
    return "delta" if change < CLOSER * following else None


def _first_usable(dataset: TrajectoryDataset) -> list[Trajectory]:
    found: list[Trajectory] = []
    for index in range(min(dataset.num_episodes, _AMONG)):
        if len(found) == _EPISODES:
            break
        try:
            found.append(dataset.episode(index))
        except DataError:
            continue  # reading all episodes reports which are unusable
    return found
