"""A point in the unit square as an environment, rendered as a dot, with the interface of the arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from vjepa_world.planning.policy import Observation, Problem

SIZE = 32
STEP_M = 0.1
REACHED_M = 0.04
WIDTH_M = 0.4


def draw_dot(position: np.ndarray) -> np.ndarray:
    """Return a picture `[32, 32, 3]` whose brightness is a smooth hill at `position`, metres in [0, 1]^2."""
    at = (np.arange(SIZE) + 0.5) / SIZE
    hill = np.exp(-((at[None, :] - position[0]) ** 2 + (at[:, None] - position[1]) ** 2) / (2 * WIDTH_M**2))
    return np.repeat((255 * hill).astype(np.uint8)[..., None], 3, axis=2)


class BoxEnv:
    """Moves a point by actions of at most 10 cm per axis; solved within 4 cm of the goal.

    `near` is the share of goals drawn right at the start; `ends_at_success` forbids steps after a success.
    """

    action_low = np.full(2, -STEP_M, dtype=np.float32)
    action_high = np.full(2, STEP_M, dtype=np.float32)
    action_space = gymnasium.spaces.Box(action_low, action_high)

    def __init__(self, near: float = 0.0, time_limit: int = 20, ends_at_success: bool = False) -> None:
        self.metadata = {"ends_at_success": ends_at_success}
        self.near = near
        self.time_limit = time_limit
        self.seeds: list[int | None] = []
        self.actions: list[np.ndarray] = []
        self.actions_of: dict[int | None, list[list[float]]] = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self.seeds.append(seed)
        rng = np.random.default_rng(seed)
        self.position, self.goal = rng.uniform(0.1, 0.9, 2), rng.uniform(0.1, 0.9, 2)
        if rng.uniform() < self.near:
            self.goal = self.position + 0.01
        self.taken = 0
        self.actions_of[seed] = []
        return self._observation(), self._info() | {"goal_image": draw_dot(self.goal)}

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        self.actions.append(action)
        self.actions_of[self.seeds[-1]].append(action.tolist())
        self.position = np.clip(self.position + action, 0.0, 1.0)
        self.taken += 1
        info = self._info()
        return self._observation(), -info["distance"], info["success"], self.taken >= self.time_limit, info

    def _observation(self) -> dict[str, np.ndarray]:
        return {"image": draw_dot(self.position), "state": self.position.astype(np.float32)}

    def _info(self) -> dict[str, Any]:
        distance = float(np.linalg.norm(self.position - self.goal))
        return {"distance": distance, "success": distance < REACHED_M}


class CentroidPolicy:
    """Solves the box world: finds both dots' centroids in the pictures and steps from one to the other."""

    plan_energies: Sequence[float] | None = None

    def reset(self, problems: Sequence[Problem]) -> None:
        self.goals = [self._centroid(problem.goal_image) for problem in problems]

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        return np.clip(np.stack(self._ways(observations)), -STEP_M, STEP_M).astype(np.float32)

    def energies(self, observations: Sequence[Observation]) -> Sequence[float] | None:
        return [float(np.abs(way).mean()) for way in self._ways(observations)]

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        for index, image in goal_images.items():
            self.goals[index] = self._centroid(image)

    def select(self, problems: Sequence[int]) -> None:
        self.goals = [self.goals[index] for index in problems]

    def _ways(self, observations: Sequence[Observation]) -> list[np.ndarray]:
        """Return the ways from the dots to the goals, `[2]` each."""
        return [
            goal - self._centroid(seen["image"]) for goal, seen in zip(self.goals, observations, strict=True)
        ]

    def _centroid(self, image: np.ndarray) -> np.ndarray:
        # The brightest part only: the hill is cut off by the picture's edge.
        peak = np.clip(image[..., 0].astype(float) - 245, 0, None)
        at = (np.arange(SIZE) + 0.5) / SIZE
        return np.array([(peak.sum(0) * at).sum(), (peak.sum(1) * at).sum()]) / peak.sum()


class BoxModel:
    """An exact world model of the box: features are the image's brightness at 8 x 8 positions."""

    def __init__(self, action_size: int = 2, reach_m: float = STEP_M) -> None:
        self.action_low = torch.full((action_size,), -reach_m)
        self.action_high = torch.full((action_size,), reach_m)

    def encode(self, frames: Tensor, states: Tensor | None) -> Tensor:
        assert states is not None
        assert frames.dtype == torch.uint8
        assert frames.shape == (len(states), 1, 3, SIZE, SIZE)
        return states[:, -1]

    def encode_goal(self, frames: Tensor) -> Tensor:
        return frames[:, 0, ::4, ::4].flatten(1)[..., None] / 255.0

    def rollout_sequences(self, context: Tensor, actions: Tensor) -> Tensor:
        """`[B, K, A]` to `[B, K, N, D]`."""
        return self.rollout(context, actions.unsqueeze(1)).squeeze(1)

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        position = context[:, None, None] + actions.cumsum(dim=2)
        at = (torch.arange(0, SIZE, 4) + 0.5) / SIZE
        x, y = position[..., 0, None, None], position[..., 1, None, None]
        hill = torch.exp(-((at - x) ** 2 + (at[:, None] - y) ** 2) / (2 * WIDTH_M**2))
        return hill.flatten(3)[..., None]
