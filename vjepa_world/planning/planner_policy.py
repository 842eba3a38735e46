"""Policies of a world model: planning with it, and its inverse model alone.

Shapes: B episodes, A action size, C channels, H W pixels, S state size, V views.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from planners.protocols import (
    Context,
    Energy,
    Plan,
    Planner,
    WorldModel,
    energy_for,
    evaluate_energy,
    needs_problems,
)
from planners.wrappers.unwrap import fresh_copy, select_problems
from vjepa_world.errors import CheckpointError
from vjepa_world.planning.cameras import side_by_side
from vjepa_world.planning.policy import Observation, Problem, state_of

logger = logging.getLogger(__name__)


@runtime_checkable
class WarningModel(Protocol):
    """A world model that detects inputs unlike its training data."""

    def input_warnings(self, frames: Tensor, states: Tensor) -> list[str]:
        """Return warnings about frames, uint8 `[..., C, H, W]`, and states `[..., S]`."""


class ModelPolicy:
    """Encodes observations and goal images, and leaves the choice of actions to a subclass.

    Args:
        model: Encodes observations and goals.
        energy: Evaluates the current observation; actions do not depend on it.
        action_low: Lowest action of the environment, `[A]`.
        action_high: Highest action of the environment, `[A]`.

    Attributes:
        views: V, the cameras that the model looks at, the first ones of the environment.

    Raises:
        CheckpointError: If the model's action size is not the environment's.
    """

    def __init__(
        self, model: WorldModel, *, energy: Energy, action_low: np.ndarray, action_high: np.ndarray
    ) -> None:
        self.action_low = np.asarray(action_low, dtype=np.float32)
        self.action_high = np.asarray(action_high, dtype=np.float32)
        check_actions(model, self.action_low, self.action_high)
        self.model = model
        self.views = views_of(model)
        self.plan_energies: Sequence[float] | None = None
        self.energy = energy
        self._has_warned = False

    def reset(self, problems: Sequence[Problem]) -> None:
        """Encode the goal images."""
        self._goals = self.model.encode_goal(self._pictures([problem.goal_image for problem in problems]))
        self.plan_energies = None

    @torch.no_grad()
    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        """Return the chosen actions, float32 `[B, A]`, clipped to the environment's bounds."""
        states, pictures = (
            self._states(observations),
            self._seen(observations),
        )
        self._warn(pictures[0], states[0])
        actions = self.choose(pictures, states)
        return np.clip(actions.float().cpu().numpy(), self.action_low, self.action_high)

    def choose(self, pictures: Tensor, states: Tensor) -> Tensor:
        """Return the actions `[B, A]` for pictures, uint8 `[B, C, H, V*W]`, and states `[B, S]`."""
        raise NotImplementedError

    def encode(self, pictures: Tensor, states: Tensor) -> Context:
        """Return the context of one observation of each of B episodes."""
        return self.model.encode(pictures[:, None], states[:, None])

    @torch.no_grad()
    def energies(self, observations: Sequence[Observation]) -> Sequence[float] | None:
        """Return the energies of the current features, evaluated like predicted ones."""
        pictures, states = self._seen(observations), self._states(observations)
        features = self.model.encode_goal(pictures)
        no_action = torch.zeros(len(features), 1, 1, len(self.action_low), device=self._device)
        energy = self.energy
        if needs_problems(energy):
            energy = energy_for(energy, self.encode(pictures, states), self._goals)
        seen = features[:, None, None], self._goals, no_action, states[:, None, None]
        found: list[float] = evaluate_energy(energy, *seen)[:, 0].tolist()
        return found

    @torch.no_grad()
    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        """Encode the new goal images of some of the episodes."""
        self._goals = self._goals.clone()
        self._goals[list(goal_images)] = self.model.encode_goal(self._pictures([*goal_images.values()]))

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._goals = self._goals[list(problems)]

    def _warn(self, picture: Tensor, state: Tensor) -> None:
        """Log warnings about an input unlike the training data, at the first observation only."""
        if not self._has_warned and isinstance(self.model, WarningModel):
            for warning in self.model.input_warnings(picture, state):
                logger.warning("warning: %s", warning)
        self._has_warned = True

    @property
    def _device(self) -> torch.device:
        return self.model.action_low.device

    def _seen(self, observations: Sequence[Observation]) -> Tensor:
        """Return what the cameras of observations see, `[B, C, H, V*W]` on the model's device."""
        return self._pictures([side_by_side(seen, views=self.views) for seen in observations])

    def _pictures(self, images: Sequence[np.ndarray]) -> Tensor:
        """Return images `[H, V*W, C]` as `[B, C, H, V*W]` on the model's device."""
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(self._device)

    def _states(self, observations: Sequence[Observation]) -> Tensor:
        """Return the states of observations, `[B, S]` on the model's device."""
        return torch.from_numpy(np.stack([state_of(seen) for seen in observations])).to(self._device)


@dataclass
class _Group:
    """Episodes that are planned for in one call: their goals were set at the same time, so their plans are as old.

    Attributes:
        planner: Remembers their plans.
        episodes: Their indices.
    """

    planner: Planner
    episodes: list[int]

    def renumber(self, numbers: Mapping[int, int]) -> bool:
        """Keep the episodes that have a new index, by the old one; return whether any is left."""
        kept = [position for position, episode in enumerate(self.episodes) if episode in numbers]
        if 0 < len(kept) < len(self.episodes):
            select_problems(self.planner, kept)
        self.episodes = [numbers[self.episodes[position]] for position in kept]
        return bool(kept)


class PlannerPolicy(ModelPolicy):
    """Plans from the encoded observations towards the features of the goal images, and returns the first actions.

    Args:
        model: Encodes observations and goals.
        planner: Plans with the same model. The noise of each episode comes from a CPU generator of its own.
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
        super().__init__(model, energy=energy, action_low=action_low, action_high=action_high)
        self.planner = planner
        self.deadline_s = deadline_s

    def reset(self, problems: Sequence[Problem]) -> None:
        """Encode the goal images, seed the planner's noise, and reset the planner."""
        super().reset(problems)
        self._generators = [
            torch.Generator(device="cpu").manual_seed(int(problem.rng.integers(2**63)))
            for problem in problems
        ]
        self.planner.reset()
        self._groups = [_Group(self.planner, list(range(len(problems))))]

    def choose(self, pictures: Tensor, states: Tensor) -> Tensor:
        """Return the first actions of new plans, `[B, A]`."""
        energies, actions = [0.0] * len(pictures), [torch.empty(0)] * len(pictures)
        for group in self._groups:
            plan = self.plan(group.planner, group.episodes, pictures, states)
            for position, episode in enumerate(group.episodes):
                energies[episode], actions[episode] = float(plan.energy[position]), plan.actions[position, 0]
        self.plan_energies = energies
        return torch.stack(actions)

    def plan(self, planner: Planner, episodes: Sequence[int], pictures: Tensor, states: Tensor) -> Plan:
        """Return plans for some of the episodes; pictures and states are those of all."""
        rows = list(episodes)
        return planner.plan(
            self.encode(pictures[rows], states[rows]),
            self._goals[rows],
            generators=[self._generators[episode] for episode in rows],
            deadline_s=self.deadline_s,
        )

    def set_goals(self, goal_images: Mapping[int, np.ndarray]) -> None:
        """Encode the new goal images of some of the episodes, and forget their plans for the earlier goals.

        These episodes are planned for apart from the others from then on, so that none depends on its neighbours.
        """
        super().set_goals(goal_images)
        others = {index: index for index in range(len(self._generators)) if index not in goal_images}
        self._groups = [group for group in self._groups if group.renumber(others)]
        self._groups.append(_Group(fresh_copy(self.planner), sorted(goal_images)))

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        super().select(problems)
        self._generators = [self._generators[index] for index in problems]
        numbers = {old: new for new, old in enumerate(problems)}
        self._groups = [group for group in self._groups if group.renumber(numbers)]


class ProposalPolicy(ModelPolicy):
    """Executes the first action that a model proposes at each observation, without any search.

    Args:
        model: Encodes observations and goals.
        propose: Returns actions `[B, K, A]` for a context of B problems and their goals `[B, N, D]`.
        energy: Evaluates the current observation; actions do not depend on it.
        action_low: Lowest action of the environment, `[A]`.
        action_high: Highest action of the environment, `[A]`.
    """

    def __init__(
        self,
        model: WorldModel,
        propose: Callable[[Context, Tensor], Tensor],
        *,
        energy: Energy,
        action_low: np.ndarray,
        action_high: np.ndarray,
    ) -> None:
        super().__init__(model, energy=energy, action_low=action_low, action_high=action_high)
        self.propose = propose

    def choose(self, pictures: Tensor, states: Tensor) -> Tensor:
        """Return the first proposed actions, `[B, A]`."""
        return self.propose(self.encode(pictures, states), self._goals)[:, 0]


def views_of(model: WorldModel) -> int:
    """Return how many cameras a world model looks at: its `views`, and one for models that do not say."""
    views: int = getattr(model, "views", 1)
    return views


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
