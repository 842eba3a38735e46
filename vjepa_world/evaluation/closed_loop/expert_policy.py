"""The scripted expert of an environment as a policy: what the task allows at best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.closed_loop.environment import Environment
from vjepa_world.planning.policy import NoGoalPolicy, Observation, Problem


class ExpertPolicy(NoGoalPolicy):
    """Follows the scripted expert of each episode's environment, `env.unwrapped.expert()`, which knows its goal."""

    def reset(self, problems: Sequence[Problem]) -> None:
        """Get the expert of each episode."""
        self._experts: list[Any] = [problem.env.unwrapped.expert() for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the experts' actions, float32 `[B, A]`."""
        actions = [expert.act(seen) for expert, seen in zip(self._experts, observations, strict=True)]
        return np.stack(actions).astype(np.float32)

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._experts = [self._experts[index] for index in problems]


def has_expert(env: Environment) -> bool:
    """Return whether an environment has a scripted expert."""
    return callable(getattr(getattr(env, "unwrapped", env), "expert", None))
