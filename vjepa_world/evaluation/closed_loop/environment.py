"""What a closed loop needs of an environment, and the pairs of start and goal that it begins from.

Nothing of `envs`, MuJoCo or Gymnasium is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, SupportsFloat

import numpy as np

from vjepa_world.evaluation.statistics import EvaluationError


class Environment(Protocol):
    """A Gymnasium environment with goals.

    Observations are dictionaries with `image`, uint8 `[H, W, 3]`, and `state`, float32 `[S]`, which may be absent.
    Further cameras' pictures are called `image_CAMERA`, and those of goals `goal_image_CAMERA`.
    `info` has `success` and `distance` after each reset and step, and `goal_image`, uint8 `[H, W, 3]`, after a reset.
    It may have `factors`, labels by which results are broken down, after a reset, and of tasks with sub-goals
    `subgoals_reached`, bool `[G]`, and after a reset `subgoal_images`, uint8 `[G, H, W, 3]`, and `subgoal_names`; the
    last sub-goal is the goal.

    An environment that cannot step on after it has terminated with a success has `metadata["ends_at_success"]`.
    """

    action_space: Any
    """A box with `low` and `high`, `[A]` each; or `n` choices from `start`, which `step` takes as a number."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and return observation and info."""

    def step(self, action: Any, /) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute an action and return observation, reward, terminated, truncated and info."""


def action_bounds(space: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and highest action of an environment, `[A]` each; choices are one-hot vectors for policies.

    Raises:
        EvaluationError: If the space is neither a box nor one of choices.
    """
    if _is_of_choices(space):
        return np.zeros(space.n, np.float32), np.ones(space.n, np.float32)
    if not hasattr(space, "low"):
        raise EvaluationError(
            f"the environment's action space is {space}; allowed are Box and Discrete. Wrap the environment so that "
            "its actions are one of these."
        )
    return space.low, space.high


def action_for(space: Any, action: np.ndarray) -> Any:
    """Return a policy's action `[A]` as an environment takes it: of choices the number of the largest entry.

    A policy may also give the number itself.
    """
    if not _is_of_choices(space):
        return action
    return int(action) if np.ndim(action) == 0 else int(space.start + np.argmax(action))


def _is_of_choices(space: Any) -> bool:
    """Return whether a space is `Discrete`, told by its attributes, since Gymnasium is not imported here."""
    return hasattr(space, "n") and hasattr(space, "start")


@dataclass(frozen=True)
class Pair:
    """A start and a goal: `env.reset(seed=seed, options=options)` reproduces both.

    Attributes:
        seed: Seed of the environment and of the policy.
        options: Reset options, JSON values.
        episode: Fingerprint of the recorded episode that start and goal are from; empty for drawn ones.
    """

    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    episode: str = ""

    def reset(self, env: Environment, *needed: str) -> tuple[Any, dict[str, Any]]:
        """Begin the episode in an environment and return observation and info.

        Raises:
            EvaluationError: If `info` lacks one of the `needed` keys.
        """
        observation, info = env.reset(seed=self.seed, options=dict(self.options) or None)
        check_info(info, *needed)
        return observation, info


def check_info(info: Mapping[str, Any], *needed: str) -> None:
    """Check the keys of an environment's `info` after a reset.

    Raises:
        EvaluationError: If one is missing.
    """
    missing = [key for key in needed if key not in info]
    if missing:
        raise EvaluationError(
            f"the environment's info has no {', '.join(missing)} after reset, only {', '.join(info) or 'nothing'}; a "
            "task for goal images reports success, distance and goal_image. Add them to info."
        )
