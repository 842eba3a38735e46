"""What acts in an episode: a planner over a world model, and random actions beside it.

Planners and environments are met through the protocols here. Shapes: A action size, C channels,
H W pixels, N tokens, D width; a policy is one problem, B = 1.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Generator, Tensor

from planners.protocols import Energy, evaluate_energy
from vjepa_world.errors import CheckpointError

logger = logging.getLogger(__name__)

Observation = Mapping[str, np.ndarray]
"""`image`: uint8 `[H, W, 3]`; `state`: float32 `[S]`."""


class Policy(Protocol):
    """What turns observations into actions, episode by episode."""

    plan_energy: float | None
    """What the last action's plan promised, or None where nothing was planned."""

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Begin an episode: the goal is uint8 `[H, W, 3]`; all randomness comes from `rng`."""

    def act(self, observation: Observation) -> np.ndarray:
        """Return the action to carry out, float32 `[A]`."""

    def energy(self, observation: Observation) -> float | None:
        """Return how far the observation is from the goal, as the policy sees it, or None."""


class LatentModel(Protocol):
    """What is used of a world model here; the planner holds the rest."""

    @property
    def action_low(self) -> Tensor:
        """Lowest action, `[A]`."""

    @property
    def action_high(self) -> Tensor:
        """Highest action, `[A]`."""

    def encode(self, frames: Tensor, states: Tensor | None) -> Any:
        """Encode uint8 `[B, T, C, H, W]` and states `[B, T, S]`."""

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode uint8 `[B, C, H, W]` to `[B, N, D]`."""


class PlanLike(Protocol):
    """A planner's answer."""

    @property
    def actions(self) -> Tensor:
        """`[B, K, A]`."""

    @property
    def energy(self) -> Tensor:
        """`[B]`."""


class PlannerLike(Protocol):
    """Anything that plans; see `planners.protocols.Planner`."""

    def plan(
        self, context: Any, goal: Tensor, *, generators: Sequence[Generator], deadline_s: float | None = None
    ) -> PlanLike:
        """Plan for B problems."""

    def reset(self) -> None:
        """Forget the episode before."""


class RandomPolicy:
    """Uniform actions in a box: the control beside every planner, over the bounds the planner has.

    Args:
        action_low: `[A]`.
        action_high: `[A]`.
    """

    def __init__(self, action_low: np.ndarray, action_high: np.ndarray) -> None:
        self.action_low = np.asarray(action_low, dtype=np.float32)
        self.action_high = np.asarray(action_high, dtype=np.float32)
        self.plan_energy: float | None = None

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Take the episode's generator; the goal is not looked at."""
        self._rng = rng

    def act(self, observation: Observation) -> np.ndarray:
        """Return a uniform action, float32 `[A]`."""
        drawn = self._rng.uniform(self.action_low, self.action_high).astype(np.float32)
        return np.clip(drawn, self.action_low, self.action_high)

    def energy(self, observation: Observation) -> float | None:
        """Random actions know no energy."""
        return None


@runtime_checkable
class WarningModel(Protocol):
    """A model that can tell what is far from its training data."""

    def input_warnings(self, frames: Tensor, states: Tensor) -> list[str]:
        """Return what is to be said of frames `[..., C, H, W]` and states `[..., S]`."""


class PlannerPolicy:
    """Encodes what is seen, plans to the goal image's features, returns the plan's first action.

    Args:
        model: Encodes observations and goals.
        planner: Plans with the same model. Its noise comes from one generator an episode, on the CPU.
        energy: Measures the energy of the current observation, for the record only.
        action_low: The environment's bounds, `[A]`.
        action_high: `[A]`.
        deadline_s: Time [s] the planner has for an action; None for as long as it takes.

    Raises:
        CheckpointError: If the model's action size is not the environment's.
    """

    def __init__(
        self,
        model: LatentModel,
        planner: PlannerLike,
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
        self._has_looked = False

    def reset(self, goal_image: np.ndarray, rng: np.random.Generator) -> None:
        """Encode the goal, seed the episode's planning noise, forget the episode before."""
        self._goal = self.model.encode_goal(self._picture(goal_image))
        self._generator = torch.Generator(device="cpu").manual_seed(int(rng.integers(2**63)))
        self.planner.reset()
        self.plan_energy = None

    def act(self, observation: Observation) -> np.ndarray:
        """Return the first action of a plan from here, float32 `[A]`, in the environment's box."""
        state = torch.from_numpy(np.array(observation["state"], dtype=np.float32))
        picture = self._picture(observation["image"])
        self._look(picture, state)
        context = self.model.encode(picture[:, None], state[None, None].to(self._device))
        plan = self.planner.plan(
            context, self._goal, generators=[self._generator], deadline_s=self.deadline_s
        )
        self.plan_energy = float(plan.energy[0])
        action = plan.actions[0, 0].float().cpu().numpy()
        return np.clip(action, self.action_low, self.action_high)

    def energy(self, observation: Observation) -> float | None:
        """Return the energy of the current features, as if the model had predicted them."""
        features = self.model.encode_goal(self._picture(observation["image"]))
        no_action = torch.zeros(1, 1, 1, len(self.action_low), device=self._device)
        state = torch.from_numpy(np.array(observation["state"], dtype=np.float32)).to(self._device)
        there = features[:, None, None], self._goal, no_action, state[None, None, None]
        return float(evaluate_energy(self._energy, *there)[0, 0])

    def _look(self, picture: Tensor, state: Tensor) -> None:
        """Warn, at the first observation, of what is far from the model's training data, where it can tell."""
        if not self._has_looked and isinstance(self.model, WarningModel):
            for warning in self.model.input_warnings(picture, state):
                logger.warning("warning: %s", warning)
        self._has_looked = True

    @property
    def _device(self) -> torch.device:
        return self.model.action_low.device

    def _picture(self, image: np.ndarray) -> Tensor:
        """`[H, W, C]` to `[1, C, H, W]` on the model's device."""
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].to(self._device)


def check_actions(model: LatentModel, action_low: np.ndarray, action_high: np.ndarray) -> None:
    """Check that a model's actions are the environment's, before any episode.

    A model whose box is larger is warned about: its plans will be clipped.

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
