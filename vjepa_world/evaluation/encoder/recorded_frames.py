"""Frames of recorded episodes at known distances from one of them: no simulator is needed.

Legend: R rows of an episode, M frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch

from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.errors import DataError
from vjepa_world.evaluation.encoder.frames import LEAST_FRAMES, GoalFrames

#: Rows apart; or how far the end effector is.
Distance = Literal["steps", "position"]

#: What differs between the frames of a recording.
MOVED = "recorded"

#: Rows that are tried as the goal of an episode.
_TRIES = 20


def recorded_frames(
    dataset: TrajectoryDataset,
    *,
    episodes: int = 15,
    states: int = 30,
    within: Sequence[float] = (30.0, 10.0),
    distance: Distance = "steps",
    cameras: Sequence[str] = (),
    seed: int = 0,
    on_episode: Callable[[], object] = lambda: None,
) -> list[GoalFrames]:
    """Return frames of drawn episodes; the goal is a drawn row, and the states are other rows of the same episode.

    Args:
        dataset: The episodes.
        episodes: How many are drawn; all, if there are fewer.
        states: M, at most: a short episode has fewer.
        within: Largest distances: steps, or metres.
        distance: steps, the number of rows between two frames; or position, of the end effector.
        cameras: Cameras that are shown; empty for the first one.
        seed: Source of all randomness.
        on_episode: Called after each episode.

    Raises:
        DataError: If a camera is unknown, frames cannot be decoded, states hold no position, or no episode has enough
            rows near each other.
    """
    shown = _cameras(dataset, cameras)
    if distance == "position" and not dataset.convention.has_pose:
        raise DataError(
            f"the states of {dataset.path} hold no position of the end effector; measure the distance in steps "
            "(data.distance=steps), or name the indices of the pose (data.convention.position_at)."
        )
    rng = np.random.default_rng(seed)
    drawn = rng.permutation(dataset.num_episodes)[:episodes]
    found: list[GoalFrames] = []
    for index in sorted(drawn.tolist()):
        episode = dataset.episode(index)
        own = np.random.default_rng([seed, index])
        for limit in within:
            rows = _draw_rows(_positions(episode, dataset, distance), limit, states, own)
            if rows is not None:
                found.append(_frames(episode, shown, *rows, within=limit, distance=distance))
        on_episode()
    if not found:
        raise DataError(
            f"none of {len(drawn)} episodes of {dataset.path} has {LEAST_FRAMES} frames within "
            f"{max(within):g} {_unit(distance)} of another; give longer episodes, or larger distances."
        )
    return found


def _cameras(dataset: TrajectoryDataset, names: Sequence[str]) -> tuple[str, ...]:
    cameras = tuple(names) or tuple(dataset.cameras[:1])
    missing = [name for name in cameras if name not in dataset.cameras]
    if missing or not cameras:
        raise DataError(
            f"{dataset.path} has no camera {', '.join(missing) or 'at all'}; its cameras: "
            f"{', '.join(dataset.cameras) or 'none'}. Name one of them (data.cameras)."
        )
    return cameras


def _unit(distance: Distance) -> str:
    return "steps" if distance == "steps" else "m"


def _positions(episode: Trajectory, dataset: TrajectoryDataset, distance: Distance) -> np.ndarray:
    """Return what distances are measured between, `[R, k]`."""
    if distance == "steps":
        return np.arange(len(episode), dtype=np.float64)[:, None]
    return standardise(episode, dataset.convention).states[:, :3].astype(np.float64)


def _draw_rows(
    positions: np.ndarray, limit: float, count: int, rng: np.random.Generator
) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Return the row of a goal, rows `[M]` near it and their distances `[M]`; None if no goal has enough."""
    for goal in rng.permutation(len(positions))[:_TRIES].tolist():
        distances = np.linalg.norm(positions - positions[goal], axis=1)
        near = np.flatnonzero((distances > 0) & (distances <= limit))
        if len(near) >= LEAST_FRAMES and len(np.unique(distances[near])) > 1:
            rows = np.sort(rng.permutation(near)[:count])
            return goal, rows, distances[rows]
    return None


def _frames(
    episode: Trajectory,
    cameras: Sequence[str],
    goal: int,
    rows: np.ndarray,
    distances: np.ndarray,
    *,
    within: float,
    distance: Distance,
) -> GoalFrames:
    shown = np.concatenate([[goal], rows])
    wanted, inverse = np.unique(shown, return_inverse=True)
    decoded = [episode.frames(wanted, camera)[torch.from_numpy(inverse)] for camera in cameras]
    return GoalFrames(
        scene=episode.index,
        goal="",
        moved=MOVED,
        within=within,
        unit=_unit(distance),
        goal_views=tuple(view[0] for view in decoded),
        views=tuple(view[1:] for view in decoded),
        distances=torch.from_numpy(distances),
    )
