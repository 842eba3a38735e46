"""One episode: a policy acts in an environment until the environment ends the episode.

Nothing of `envs`, MuJoCo or Gymnasium is imported. Shapes: T actions of the episode, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat

import numpy as np
import torch

from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.policy import Observation, Policy

MAX_ACTIONS = 1000
"""Actions after which an episode is cut off if the environment does not end it."""

_POLICY_STREAM = 1
"""Separates the random numbers of the policy from those of the environment, which uses the bare seed."""


class Environment(Protocol):
    """A Gymnasium environment with goals.

    Observations are dictionaries with `image`, uint8 `[H, W, 3]`, and `state`, float32 `[S]`. `info` has `success` and
    `distance` [m] after each reset and step, and `goal_image`, uint8 `[H, W, 3]`, after a reset.
    """

    action_space: Any
    """A box with `low` and `high`, `[A]` each."""

    def reset(self, *, seed: int | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and return observation and info."""

    def step(self, action: Any, /) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Execute an action and return observation, reward, terminated, truncated and info."""


@dataclass(frozen=True, eq=False)
class Episode:
    """The record of an episode.

    Attributes:
        seed: Seed of the environment and of the policy.
        success: Whether the goal was reached after any action.
        initial_distance_m: Distance to the goal after the reset.
        distances_m: Distance to the goal after each action, T.
        seconds_per_action: Time that the policy took for each action, encoding included, T.
        frames: Frames of the camera from the reset on, uint8 `[T + 1, H, W, 3]`.
        goal_image: uint8 `[H, W, 3]`.
        energies: The policy's energy of each frame, T + 1; empty if it has none.
        plan_energies: The energy predicted for the plan of each action, T; empty if nothing was planned.
    """

    seed: int
    success: bool
    initial_distance_m: float
    distances_m: tuple[float, ...]
    seconds_per_action: tuple[float, ...]
    frames: np.ndarray
    goal_image: np.ndarray
    energies: tuple[float, ...]
    plan_energies: tuple[float, ...]

    @property
    def steps(self) -> int:
        """T, the number of actions."""
        return len(self.distances_m)

    @property
    def final_distance_m(self) -> float:
        """Distance to the goal at the end of the episode."""
        return self.distances_m[-1]


@torch.no_grad()
def rollout(env: Environment, policy: Policy, *, seed: int, max_actions: int = MAX_ACTIONS) -> Episode:
    """Run one episode, until the environment ends it or after `max_actions`.

    All randomness of the environment comes from `seed`, that of the policy from a generator seeded with `seed` and a
    constant, so that the two never use the same numbers.

    Args:
        env: The environment.
        policy: The policy; it gets the goal image and the generator at the reset.
        seed: Seed of the episode.
        max_actions: Actions after which the episode is cut off, at least 1.

    Raises:
        EvaluationError: If `max_actions` is below 1, or `info` lacks a key.
    """
    if max_actions < 1:
        raise EvaluationError(f"max_actions is {max_actions}; allowed is at least 1. Raise it.")
    observation, info = env.reset(seed=seed)
    check_info(info, "success", "distance", "goal_image")
    goal_image = np.array(info["goal_image"])
    policy.reset(goal_image, np.random.default_rng([seed, _POLICY_STREAM]))
    recorder = _Recorder(policy)
    recorder.add_frame(observation)
    initial_distance_m = float(info["distance"])
    success, ended = False, False
    while not ended and len(recorder.distances_m) < max_actions:
        action = recorder.act(observation)
        observation, _, terminated, truncated, info = env.step(action)
        recorder.add_frame(observation)
        recorder.distances_m.append(float(info["distance"]))
        success = success or bool(info["success"])
        ended = terminated or truncated
    return Episode(
        seed=seed,
        success=success,
        initial_distance_m=initial_distance_m,
        distances_m=tuple(recorder.distances_m),
        seconds_per_action=tuple(recorder.seconds),
        frames=np.stack(recorder.frames),
        goal_image=goal_image,
        energies=tuple(recorder.energies),
        plan_energies=tuple(recorder.plan_energies),
    )


def check_info(info: Mapping[str, Any], *needed: str) -> None:
    """Check the keys of an environment's `info` after a reset.

    Raises:
        EvaluationError: If one is missing.
    """
    missing = [key for key in needed if key not in info]
    if missing:
        raise EvaluationError(
            f"the environment's info has no {', '.join(missing)} after reset, only {', '.join(info) or 'nothing'}; a "
            "task for goal images reports success, distance [m] and goal_image. Add them to info."
        )


class _Recorder:
    """Records an episode. The time of an action excludes that of measuring the energy."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.frames: list[np.ndarray] = []
        self.distances_m: list[float] = []
        self.seconds: list[float] = []
        self.energies: list[float] = []
        self.plan_energies: list[float] = []

    def add_frame(self, observation: Observation) -> None:
        self.frames.append(np.array(observation["image"]))
        energy = self.policy.energy(observation)
        if energy is not None:
            self.energies.append(energy)

    def act(self, observation: Observation) -> np.ndarray:
        started = time.perf_counter()
        action = self.policy.act(observation)
        self.seconds.append(time.perf_counter() - started)
        if self.policy.plan_energy is not None:
            self.plan_energies.append(self.policy.plan_energy)
        return action
