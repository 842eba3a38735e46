"""The scripted expert of an environment as a policy: what the task allows at best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.closed_loop.environment import Environment
from vjepa_world.planning.policy import Observation, Problem


class ExpertPolicy:
    """Follows the scripted expert of each episode's environment, `env.unwrapped.expert()`."""

    plan_energies: Sequence[float] | None = None

    def reset(self, problems: Sequence[Problem]) -> None:
        """Get the expert of each episode."""
        self._experts: list[Any] = [problem.env.unwrapped.expert() for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the experts' actions, float32 `[B, A]`."""
        actions = [expert.act(seen) for expert, seen in zip(self._experts, observations, strict=True)]
        return np.stack(actions).astype(np.float32)

    def energies(self, observations: Sequence[Observation]) -> Sequence[float] | None:
        """Return None: an expert has no energy."""
        return None

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        """Do nothing: an expert knows its goal."""

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._experts = [self._experts[index] for index in problems]


def has_expert(env: Environment) -> bool:
    """Return whether an environment has a scripted expert."""
    return callable(getattr(getattr(env, "unwrapped", env), "expert", None))
