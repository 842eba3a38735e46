"""Policies: planning with a world model, and random actions as the baseline.

Shapes: A action size, C channels, H W pixels, S state size; a policy plans for one problem, B = 1.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from planners.protocols import Energy, Planner, WorldModel, evaluate_energy
from vjepa_world.errors import CheckpointError

logger = logging.getLogger(__name__)

Observation = Mapping[str, np.ndarray]
"""`image`: uint8 `[H, W, 3]`; `state`: float32 `[S]`."""


class Policy(Protocol):
    """Selects actions from observations."""

    plan_energy: float | None
    """Predicted energy of the last action's plan; None if nothing was planned."""

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Start an episode with a goal image, uint8 `[H, W, 3]`; all randomness comes from `rng`."""

    def act(self, observation: Observation) -> np.ndarray:
        """Return the action to execute, float32 `[A]`."""

    def energy(self, observation: Observation) -> float | None:
        """Return the energy of the observation, a distance to the goal; None if the policy has none."""


class RandomPolicy:
    """Uniform actions within bounds, the baseline of every planner.

    Args:
        action_low: Lowest action, `[A]`.
        action_high: Highest action, `[A]`.
    """

    def __init__(self, action_low: np.ndarray, action_high: np.ndarray) -> None:
        self.action_low = np.asarray(action_low, dtype=np.float32)
        self.action_high = np.asarray(action_high, dtype=np.float32)
        self.plan_energy: float | None = None

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Store the episode's generator; the goal `[H, W, 3]` is not used."""
        self._rng = rng

    def act(self, observation: Observation) -> np.ndarray:
        """Return a uniform action, float32 `[A]`."""
        drawn = self._rng.uniform(self.action_low, self.action_high).astype(np.float32)
        return np.clip(drawn, self.action_low, self.action_high)

    def energy(self, observation: Observation) -> float | None:
        """Return None: random actions have no energy."""
        return None


@runtime_checkable
class WarningModel(Protocol):
    """A world model that detects inputs unlike its training data."""

    def input_warnings(self, frames: Tensor, states: Tensor) -> list[str]:
        """Return warnings about frames, uint8 `[..., C, H, W]`, and states `[..., S]`."""


class PlannerPolicy:
    """Encodes the observation, plans towards the features of the goal image, and returns the plan's first action.

    Args:
        model: Encodes observations and goals.
        planner: Plans with the same model. Its noise comes from one CPU generator for each episode.
        energy: Evaluates the current observation; planning does not use it.
        action_low: Lowest action of the environment, `[A]`.
        action_high: Highest action of the environment, `[A]`.
        deadline_s: Time for a plan [s]; None for no deadline.

    Raises:
        CheckpointError: If the model's action size is not the environment's.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        *,
        energy: Energy,
        action_low: np.ndarray,
        action_high: np.ndarray,
        deadline_s: float | None = None,
    ) -> None:
        self.action_low = np.asarray(action_low, dtype=np.float32)
        self.action_high = np.asarray(action_high, dtype=np.float32)
        check_actions(model, self.action_low, self.action_high)
        self.model = model
        self.planner = planner
        self._energy = energy
        self.deadline_s = deadline_s
        self.plan_energy: float | None = None
        self._has_warned = False

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Encode the goal image, uint8 `[H, W, 3]`, seed the planner's noise, and reset the planner."""
        self._goal = self.model.encode_goal(self._picture(goal_image))
        self._generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**63)))
        self.planner.reset()
        self.plan_energy = None

    def act(self, observation: Observation) -> np.ndarray:
        """Return the first action of a new plan, float32 `[A]`, clipped to the environment's bounds."""
        state = torch.from_numpy(np.array(observation["state"], dtype=np.float32))
        picture = self._picture(observation["image"])
        self._warn(picture, state)
        context = self.model.encode(picture[:, None], state[None, None].to(self._device))
        plan = self.planner.plan(
            context, self._goal, generators=[self._generator], deadline_s=self.deadline_s
        )
        self.plan_energy = float(plan.energy[0])
        action = plan.actions[0, 0].float().cpu().numpy()
        return np.clip(action, self.action_low, self.action_high)

    def energy(self, observation: Observation) -> float | None:
        """Return the energy of the current features, evaluated like predicted ones."""
        features = self.model.encode_goal(self._picture(observation["image"]))
        no_action = torch.zeros(1, 1, 1, len(self.action_low), device=self._device)
        state = torch.from_numpy(np.array(observation["state"], dtype=np.float32)).to(self._device)
        predicted, states = features[:, None, None], state[None, None, None]
        return float(evaluate_energy(self._energy, predicted, self._goal, no_action, states)[0, 0])

    def _warn(self, picture: Tensor, state: Tensor) -> None:
        """Log warnings about an input unlike the training data, at the first observation only."""
        if not self._has_warned and isinstance(self.model, WarningModel):
            for warning in self.model.input_warnings(picture, state):
                logger.warning("warning: %s", warning)
        self._has_warned = True

    @property
    def _device(self) -> torch.device:
        return self.model.action_low.device

    def _picture(self, image: np.ndarray) -> Tensor:
        """Return an image `[H, W, C]` as `[1, C, H, W]` on the model's device."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(self._device)


def check_actions(model: WorldModel, action_low: np.ndarray, action_high: np.ndarray) -> None:
    """Check that a model's actions have the environment's size, before any episode.

    A warning is logged if the model's action bounds `[A]` exceed the environment's, `[A]`: its plans will be clipped.

    Raises:
        CheckpointError: If the sizes differ.
    """
    low, high = model.action_low.cpu().numpy(), model.action_high.cpu().numpy()
    if low.size != action_low.size:
        raise CheckpointError(
            f"the checkpoint's actions have {low.size} numbers, the environment's {action_low.size}; they must "
            "be the same. Evaluate in the environment whose data it was fine-tuned on, or fine-tune on data "
            "collected in this one."
        )
    wider = np.flatnonzero((low < action_low - 1e-6) | (high > action_high + 1e-6))
    if wider.size:
        logger.warning(
            "the checkpoint's action bounds exceed the environment's on axes %s; plans are clipped there",
            wider.tolist(),
        )
