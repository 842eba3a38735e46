"""A policy of ours in the form of stable-worldmodel, with a pool of environments that is none of its."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from vjepa_world.errors import ConfigError
from vjepa_world.evaluation.stable_worldmodel.policy import WorldPolicy
from vjepa_world.planning.policy import Observation, Problem

POOL = SimpleNamespace(num_envs=3, single_action_space=spaces.Box(-1, 1, (2,), np.float32))


class Remembers:
    """Returns the first pixel, the first number of the state and of the goal, and remembers its episodes."""

    plan_energies: Sequence[float] | None = None

    def __init__(self) -> None:
        self.draws: list[float] = []

    def reset(self, problems: Sequence[Problem]) -> None:
        self.goals = [float(problem.goal_image[0, 0, 0]) for problem in problems]
        self.draws += [float(problem.rng.random()) for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        rows = [
            [goal, float(seen["image"][0, 0, 0]) + float(seen["state"].sum())]
            for goal, seen in zip(self.goals, observations, strict=True)
        ]
        return np.array(rows, np.float32)

    def energies(self, observations: Sequence[Observation]) -> None:
        return None

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        raise AssertionError("a world has one goal in each episode")

    def select(self, problems: Sequence[int]) -> None:
        self.goals = [self.goals[index] for index in problems]


def infos(ended: Sequence[bool] = (False, False, False)) -> dict[str, Any]:
    pixels = np.zeros((3, 1, 8, 8, 3), np.uint8) + np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1, 1)
    return {
        "pixels": pixels,
        "goal": pixels + 100,
        "pos": np.array([[[10.0, 1.0]], [[20.0, 1.0]], [[30.0, 1.0]]]),
        "terminated": np.array(ended)[:, None],
    }


def test_each_environment_acts_towards_its_goal_until_it_ends() -> None:
    policy = WorldPolicy(Remembers(), ("pos",))
    policy.set_env(POOL)
    assert policy.get_action(infos()).tolist() == [[100, 11], [101, 22], [102, 33]]
    assert policy.get_action(infos((False, True, False))).tolist() == [[100, 11], [0, 0], [102, 33]]
    assert policy.get_action(infos((True, True, False))).tolist() == [[0, 0], [0, 0], [102, 33]]
    assert policy.get_action(infos((True, True, True))).tolist() == [[0, 0]] * 3


def test_episodes_draw_from_generators_of_their_own() -> None:
    inner = Remembers()
    policy = WorldPolicy(inner, ("pos",), seed=1)
    for _ in range(2):
        policy.set_env(POOL)
        policy.get_action(infos())
        policy.get_action(infos())
    assert len(inner.draws) == len(set(inner.draws)) == 6
    again = Remembers()
    other = WorldPolicy(again, ("pos",), seed=1)
    other.set_env(SimpleNamespace(num_envs=3, single_action_space=POOL.single_action_space))
    other.get_action(infos())
    assert again.draws == inner.draws[:3]


def test_resets_of_single_environments_are_refused() -> None:
    policy = WorldPolicy(Remembers(), ("pos",))
    policy.set_env(POOL)
    with pytest.raises(ConfigError, match="resets environments one by one"):
        policy.get_action({**infos(), "_needs_flush": np.array([True, False, False])})
