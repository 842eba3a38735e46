"""Pairs of start and goal from recorded episodes: the arm is put into the recorded states.

Shapes: T rows of an episode, S state size.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.data.trajectories.windows import fingerprint
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.pairs.drawing import Pairs
from vjepa_world.evaluation.statistics import EvaluationError

#: Largest difference of a number of the state from the recorded one, where an arm has settled.
TOLERANCE = 0.02


def recorded_pairs(dataset: TrajectoryDataset, *, seed: int, goal_steps: int, n: int) -> list[Pair]:
    """Return `n` different candidates for pairs with start and goal from a recorded episode, or all if there are fewer.

    Episodes are taken in a random order; with `goal_steps` each several times, if `n` is larger than their number, from
    different starts. An episode's scene is that of its recorded seed, or where this is not known of a drawn one.

    Args:
        dataset: The episodes.
        seed: Draws their order and the starts.
        goal_steps: Rows from the start to the goal; 0 takes the first and the last row of each episode.
        n: Number of candidates.

    Raises:
        EvaluationError: If no episode has so many rows.
    """
    rng = np.random.default_rng(seed)
    seeds: Sequence[Any] = dataset.about.get("episode_seeds") or [None] * dataset.num_episodes
    taken = [set[int]() for _ in range(dataset.num_episodes)]
    found: list[Pair] = []
    more = True
    while more and len(found) < n:
        more = False
        for index in rng.permutation(dataset.num_episodes).tolist():
            episode = dataset.episode(index)
            drawn = int(rng.integers(2**32))
            starts = len(episode) - goal_steps if goal_steps else min(len(episode) - 1, 1)
            start = _new_start(rng, starts, taken[index])
            if start is not None and len(found) < n:
                more = True
                goal = start + goal_steps if goal_steps else len(episode) - 1
                scene = drawn if seeds[index] is None else int(seeds[index])
                found.append(_pair(episode, scene, start, goal))
    if not found:
        raise EvaluationError(
            f"no episode of {dataset.path} has {goal_steps + 1} rows, from a start to a goal goal_steps={goal_steps} "
            "later; lower goal_steps, or give longer episodes."
        )
    return found


def _new_start(rng: np.random.Generator, starts: int, taken: set[int]) -> int | None:
    """Draw one of the first `starts` rows that is not taken yet, and take it; None if there is none."""
    if len(taken) >= starts:
        return None
    start = int(rng.integers(starts))
    if start in taken:
        free = sorted(set(range(starts)) - taken)
        start = free[int(rng.integers(len(free)))]
    taken.add(start)
    return start


def check_recorded(pair: Pair, observation: Mapping[str, np.ndarray], info: Mapping[str, Any]) -> None:
    """Check that an environment began a pair of :func:`recorded_pairs` with the recorded start and goal.

    Args:
        pair: The pair.
        observation: The environment's after the reset.
        info: Likewise.

    Raises:
        EvaluationError: If it did not: it ignores the reset options `start_state` and `goal_state`.
    """
    found = {"start_state": observation.get("state"), "goal_state": info.get("goal_state")}
    for name, state in found.items():
        got = np.asarray(() if state is None else state, dtype=np.float64)
        wanted = np.asarray(pair.options[name])
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=0.0, atol=TOLERANCE):
            raise EvaluationError(
                f"the environment does not take recorded states: after a reset with {name}={wanted.tolist()} it is "
                f"{got.tolist()}. pairs_from needs a task with the reset options start_state and goal_state, such as "
                "vjepa_world/Reach-v0; give any other environment env.goal=ahead env.goal_data=DATASET."
            )


def with_episodes(found: Pairs, dataset: TrajectoryDataset) -> Pairs:
    """Return pairs with the fingerprint of the recorded episode that their option `episode` names."""
    pairs = [
        replace(pair, episode=fingerprint(dataset.episode(int(pair.options["episode"]))))
        if "episode" in pair.options
        else pair
        for pair in found.pairs
    ]
    return replace(found, pairs=pairs)


def _pair(episode: Trajectory, seed: int, start: int, goal: int) -> Pair:
    states = np.asarray(episode.states, dtype=np.float64)
    return Pair(
        seed,
        {"start_state": states[start].tolist(), "goal_state": states[goal].tolist()},
        episode=fingerprint(episode),
    )
