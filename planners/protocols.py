"""What a planner sees of the world, and what it gives back.

Shapes: B problems, S samples, K steps of the horizon, A action size, N tokens a frame, D width,
T frames, C channels, H W pixels, P state size, M sequences that a search starts from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Generator, Tensor

from planners.errors import PlannerError

Context: TypeAlias = Any
"""What `WorldModel.encode` returned. A planner only hands it back to `rollout` and never looks inside."""


class WorldModel(Protocol):
    """A model that imagines what B scenes look like after actions."""

    @property
    def action_low(self) -> Tensor:
        """Lowest allowed action, `[A]`."""

    @property
    def action_high(self) -> Tensor:
        """Highest allowed action, `[A]`. An entry equal to `action_low` is frozen at that value."""

    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        """Encode what was seen: uint8 `[B, T, C, H, W]` and states `[B, T, P]`."""

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: uint8 `[B, C, H, W]` to features `[B, N, D]`."""

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine: actions `[B, S, K, A]` to predicted features `[B, S, K, N, D]`, one for each action.

        A planner that follows the gradient needs the graph where `actions` require it; others call it
        under `torch.no_grad`.
        """


@runtime_checkable
class SlicedWorldModel(Protocol):
    """A world model that knows how many samples it imagines best at once; others are given all of them."""

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return how many samples of a problem are imagined in one call, by memory and by speed."""


@runtime_checkable
class StatefulWorldModel(Protocol):
    """A world model that imagines the robot's state too, as energies with `needs_states` ask."""

    def rollout_with_states(self, context: Context, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Imagine: actions `[B, S, K, A]` to features `[B, S, K, N, D]` and states `[B, S, K, P]`."""


@runtime_checkable
class EnergyWorldModel(Protocol):
    """A world model that returns energies itself, so that its predictions stay on the device where they were made."""

    def rollout_energies(self, energy: Energy, context: Context, goal: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`."""


@runtime_checkable
class SharedWorldModel(Protocol):
    """A world model of several robots, whose contexts know which of them they are of."""

    def for_context(self, context: Context) -> WorldModel:
        """Return this model with the bounds, and all that goes with them, of the robot that a context is of."""


def world_of(model: WorldModel, context: Context) -> WorldModel:
    """Return a model as it is for a context: where it is of several robots, with the bounds of the context's."""
    return model.for_context(context) if isinstance(model, SharedWorldModel) else model


ActionType: TypeAlias = Literal["delta", "absolute"]
"""What an action is: a change, zeros being no motion, or a target, written as where the robot is."""


def action_type(model: object) -> ActionType | None:
    """Return what a model declares its actions to be (its optional attribute `action_type`); None if it does not."""
    declared: ActionType | None = getattr(model, "action_type", None)
    if declared not in (None, "delta", "absolute"):
        raise PlannerError(
            f"The world model's action_type is {declared!r}; allowed are 'delta' (zeros are no motion), 'absolute' "
            "(targets) and None (not known). Change it."
        )
    return declared


@runtime_checkable
class HoldingWorldModel(Protocol):
    """A world model that knows which action leaves a robot where it is, and how far an action may lead from there.

    Searches of a model whose `action_type` is "absolute" begin around the hold action, and their actions never lead
    further than `action_step` from it, or from the action before.
    """

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one action to the next, `[A]`, +inf where there is no limit; None for none at all."""

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that leave the robots where they are in the newest frame, `[B, A]`; None if not known."""


class Energy(Protocol):
    """What is minimised. One that has a true attribute `needs_states` is called with `states` too."""

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]` of predictions `[B, S, K, N, D]` for goals `[B, N, D]`."""


def needs_states(energy: Energy) -> bool:
    """Return whether an energy is called with the imagined states too."""
    return bool(getattr(energy, "needs_states", False))


def evaluate_energy(
    energy: Energy, predicted: Tensor, goal: Tensor, actions: Tensor, states: Tensor | None = None
) -> Tensor:
    """Call an energy, with states if it needs them, and return its energies `[B, S]`.

    Args:
        energy: The energy that is called.
        predicted: `[B, S, K, N, D]`.
        goal: `[B, N, D]`.
        actions: `[B, S, K, A]`.
        states: `[B, S, K, P]`; an energy that needs them is given None where there are none, and says so.
    """
    if not needs_states(energy):
        return energy(predicted, goal, actions)
    energies: Tensor = energy(predicted, goal, actions, states=states)  # type: ignore[call-arg]
    return energies


@dataclass(frozen=True, eq=False)
class Iteration:
    """How one iteration of a search went; the first three fields are `[B]`.

    Samples are those that this iteration drew and, after them, those that stayed in the running from the one before,
    of planners that keep some (`ICEM`, `PredictiveSampling`); every field counts both.

    Attributes:
        best_energy: Lowest energy among the samples.
        mean_energy: Mean energy of the samples whose energy is finite.
        spread: Standard deviation sampled from, in half-widths of the box, averaged over what is free.
        samples: `[B, S, K, A]`; S is larger than `num_samples` where some stayed.
        energies: Of the samples, `[B, S]`; +inf for NaN, and where the deadline came first.
        chosen: The samples that the next iteration was made from, bool `[B, S]`.
    """

    best_energy: Tensor
    mean_energy: Tensor
    spread: Tensor
    samples: Tensor
    energies: Tensor
    chosen: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """The answer to B problems.

    Attributes:
        actions: `[B, K, A]`, inside the model's bounds.
        energy: `[B]`, the energy's value for `actions` as the model imagined them.
        trace: One entry for each iteration that was run.
        kept: Further good sequences, `[B, M, K, A]`, for the next search to start from; None of most planners.
    """

    actions: Tensor
    energy: Tensor
    trace: tuple[Iteration, ...]
    kept: Tensor | None = None


class Planner(Protocol):
    """Anything that turns a context and a goal into a plan."""

    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        """Plan for B problems.

        Args:
            context: What the model's `encode` returned.
            goal: `[B, N, D]`.
            generators: One a problem.
            deadline_s: Time [s] after which the best plan so far is returned.
            warm_start: Sequences to start from, `[B, K, A]` or `[B, M, K, A]`: the search begins around the first
                and tries them all.
            prefix: Actions that are under way already, `[B, J, A]` with J < K: every plan begins with them.
        """

    def reset(self) -> None:
        """Forget what earlier calls left behind, before a new episode."""
