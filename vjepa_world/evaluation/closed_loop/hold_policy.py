"""No motion as the environment itself defines it, where the data does not say what an action is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.closed_loop.environment import Environment
from vjepa_world.planning.policy import NoGoalPolicy, Observation, Problem


class EnvHoldPolicy(NoGoalPolicy):
    """Follows each episode's environment, whose `env.unwrapped.hold(observation)` is an action that moves nothing."""

    def reset(self, problems: Sequence[Problem]) -> None:
        """Remember the environments."""
        self._envs: list[Any] = [problem.env.unwrapped for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the actions of no motion, float32 `[B, A]`."""
        actions = [env.hold(seen) for env, seen in zip(self._envs, observations, strict=True)]
        return np.stack(actions).astype(np.float32)

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._envs = [self._envs[index] for index in problems]


def has_hold(env: Environment) -> bool:
    """Return whether an environment defines an action of no motion."""
    return callable(getattr(getattr(env, "unwrapped", env), "hold", None))
