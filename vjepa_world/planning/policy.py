"""Policies choose actions for several episodes at once: the interface, random actions, and no motion.

Shapes: B episodes, A action size, C channels, H W pixels, S state size, V views.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from vjepa_world.errors import ConfigError
from vjepa_world.planning.action_axes import ActionSpace

Observation = Mapping[str, np.ndarray]
"""`image`: uint8 `[H, W, 3]`; `image_CAMERA` of further cameras; `state`: float32 `[S]`, absent where there is none."""


@dataclass(frozen=True, eq=False)
class Problem:
    """What a policy is given when an episode begins.

    Attributes:
        goal_image: uint8 `[H, V*W, 3]`: of as many cameras, side by side, as the policy looks at.
        rng: The source of all the policy's randomness in this episode.
        env: The environment, for policies that look behind the camera: a scripted expert, the simulator as world model.
    """

    goal_image: np.ndarray
    rng: np.random.Generator
    env: Any = None


class Policy(Protocol):
    """Selects actions from observations, for B episodes at once. No episode depends on its neighbours.

    A policy that looks at several cameras says at how many: `views`. Its goal images show as many, side by side.
    """

    plan_energies: Sequence[float] | None
    """Predicted energies of the plans of the last actions, B; None if nothing was planned."""

    def reset(self, problems: Sequence[Problem]) -> None:
        """Start B episodes."""

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the actions to execute, float32 `[B, A]`."""

    def energies(self, observations: Sequence[Observation]) -> Sequence[float] | None:
        """Return the energies of the observations, distances to the goals, B; None if the policy has none."""

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        """Continue towards other goals in some of the episodes: uint8 `[H, V*W, 3]` by the episodes' indices."""

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone, given by their indices: the others have ended."""


class NoGoalPolicy:
    """The part of a policy that plans nothing and uses no goal images: no energies, and other goals change nothing."""

    plan_energies: Sequence[float] | None = None

    def energies(self, observations: Sequence[Observation]) -> Sequence[float] | None:
        """Return None: there is no energy."""
        return None

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        """Do nothing: goal images are not used."""


class RandomPolicy(NoGoalPolicy):
    """Uniform actions within bounds, the baseline of every planner.

    Args:
        action_low: Lowest action, `[A]`.
        action_high: Highest action, `[A]`.
    """

    def __init__(self, action_low: np.ndarray, action_high: np.ndarray) -> None:
        self.action_low = np.asarray(action_low, dtype=np.float32)
        self.action_high = np.asarray(action_high, dtype=np.float32)
        self._rngs: list[np.random.Generator] = []

    def reset(self, problems: Sequence[Problem]) -> None:
        """Store each episode's generator; the goals are not used."""
        self._rngs = [problem.rng for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return uniform actions, float32 `[B, A]`."""
        drawn = [rng.uniform(self.action_low, self.action_high).astype(np.float32) for rng in self._rngs]
        return np.clip(np.stack(drawn), self.action_low, self.action_high)

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._rngs = [self._rngs[index] for index in problems]


class HoldPolicy(NoGoalPolicy):
    """The action that holds the robot still: zeros where actions are changes, the present state where they are targets.

    Args:
        space: Meaning of the actions, and of the states.
        action_low: Lowest action, `[A]`.
        action_high: Highest action, `[A]`.
    """

    def __init__(self, space: ActionSpace, action_low: np.ndarray, action_high: np.ndarray) -> None:
        self.space = space
        self.action_low, self.action_high = np.asarray(action_low), np.asarray(action_high)

    def reset(self, problems: Sequence[Problem]) -> None:
        """Do nothing: neither goals nor random numbers are used."""

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the hold actions, float32 `[B, A]`.

        Raises:
            ConfigError: If the meaning of the actions is not known.
        """
        actions = self.space.hold(torch.from_numpy(np.stack([state_of(seen) for seen in observations])))
        if actions is None:
            raise ConfigError(f"the policy that holds the robot still is {self.space.why_no_hold}")
        return np.clip(actions.numpy(), self.action_low, self.action_high)

    def select(self, problems: Sequence[int]) -> None:
        """Do nothing: there is no state."""


def state_of(observation: Observation) -> np.ndarray:
    """Return the state, float32 `[S]`; without numbers where the environment has none."""
    return np.array(observation.get("state", ()), dtype=np.float32)
