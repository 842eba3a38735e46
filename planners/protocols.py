"""The interfaces of planners: world model, energy, planner and plan.

Shapes: B problems, S samples, K steps of the horizon, A action size, N tokens per frame, D width,
T frames, C channels, H W pixels, P state size, M sequences to start from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from torch import Generator, Tensor

from planners.errors import PlannerError

Context: TypeAlias = Any
"""The return value of `WorldModel.encode`. A planner only passes it to `rollout`, and never reads its content."""


class WorldModel(Protocol):
    """A model that predicts the features of B scenes after actions."""

    @property
    def action_low(self) -> Tensor:
        """Lowest allowed action, `[A]`."""

    @property
    def action_high(self) -> Tensor:
        """Highest allowed action, `[A]`. An entry equal to `action_low` is frozen at that value."""

    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        """Encode observations: frames, uint8 `[B, T, C, H, W]`, and states `[B, T, P]`."""

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: uint8 `[B, C, H, W]` to features `[B, N, D]`."""

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Return the features `[B, S, K, N, D]` predicted after each of the actions `[B, S, K, A]`.

        `GradientDescent` needs the graph if `actions` require a gradient; other planners call this under
        `torch.no_grad`.
        """


@runtime_checkable
class SlicedWorldModel(Protocol):
    """A world model that limits the samples of one call; other models are given all samples at once."""

    def samples_at_once(self, context: Context, horizon: int) -> int:
        """Return the number of samples of a problem that one call of `rollout` should get, for memory and speed."""


@runtime_checkable
class StatefulWorldModel(Protocol):
    """A world model that predicts the robot's state too, for energies with `needs_states`."""

    def rollout_with_states(self, context: Context, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features `[B, S, K, N, D]` and states `[B, S, K, P]` predicted after actions `[B, S, K, A]`."""


@runtime_checkable
class EnergyWorldModel(Protocol):
    """A world model that returns energies itself, so that its predictions stay on the device where they were made."""

    def rollout_energies(self, energy: Energy, context: Context, goal: Tensor, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`."""


@runtime_checkable
class MultiRobotWorldModel(Protocol):
    """A world model of several robots; a context stores which robot it belongs to."""

    def for_context(self, context: Context) -> WorldModel:
        """Return this model with the action bounds and the hold action of the context's robot."""


def model_for_context(model: WorldModel, context: Context) -> WorldModel:
    """Return a model for the robot of a context; a model of a single robot is returned as it is."""
    return model.for_context(context) if isinstance(model, MultiRobotWorldModel) else model


ActionType: TypeAlias = Literal["delta", "absolute", "choice"]
"""The meaning of an action: "delta" is a change, where zeros mean no motion; "absolute" is a target position; "choice"
is one of A choices, a vector that is 1 at the choice and 0 elsewhere."""


def action_type(model: object) -> ActionType | None:
    """Return the optional attribute `action_type` of a model; None if it has none."""
    declared: ActionType | None = getattr(model, "action_type", None)
    if declared not in (None, "delta", "absolute", "choice"):
        raise PlannerError(
            f"The world model's action_type is {declared!r}; allowed are 'delta' (zeros mean no motion), 'absolute' "
            "(targets), 'choice' (one of some choices) and None (not known). Change it."
        )
    return declared


@runtime_checkable
class HoldingWorldModel(Protocol):
    """A world model that knows the hold action, which keeps a robot where it is, and the largest step from it.

    If the model's `action_type` is "absolute", a search starts around the hold action, and no action differs by more
    than `action_step` from the hold action or from the action before.
    """

    @property
    def action_step(self) -> Tensor | None:
        """Largest change from one action to the next, `[A]`, +inf where there is no limit; None for no limits."""

    def hold_action(self, context: Context) -> Tensor | None:
        """Return the actions that keep the robots where they are in the last frame, `[B, A]`; None if not known."""


class Energy(Protocol):
    """The function that a planner minimises.

    An energy with a true attribute `needs_states` is also called with the keyword `states`, `[B, S, K, P]`. One with a
    true attribute `needs_problems` is not called itself: planners call what `for_problems(context, goal)` returns.
    """

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]` of predictions `[B, S, K, N, D]`, goals `[B, N, D]` and actions `[B, S, K, A]`."""


def needs_states(energy: Energy) -> bool:
    """Return whether an energy is called with the predicted states too."""
    return bool(getattr(energy, "needs_states", False))


def needs_problems(energy: Energy) -> bool:
    """Return whether an energy depends on more of a problem than its goal's features: a state read from them."""
    return bool(getattr(energy, "needs_problems", False))


def energy_for(energy: Energy, context: Context, goal: Tensor) -> Energy:
    """Return the energy for the problems of a context and goals `[B, N, D]`; most energies are returned as they are."""
    if not needs_problems(energy):
        return energy
    made: Energy = energy.for_problems(context, goal)  # type: ignore[attr-defined]
    return made


def evaluate_energy(
    energy: Energy, predicted: Tensor, goal: Tensor, actions: Tensor, states: Tensor | None = None
) -> Tensor:
    """Call an energy, with states if it needs them, and return its energies `[B, S]`.

    Args:
        energy: The energy that is called.
        predicted: `[B, S, K, N, D]`.
        goal: `[B, N, D]`.
        actions: `[B, S, K, A]`.
        states: `[B, S, K, P]`, or None if there are none; an energy that needs them then raises an error.
    """
    if not needs_states(energy):
        return energy(predicted, goal, actions)
    energies: Tensor = energy(predicted, goal, actions, states=states)  # type: ignore[call-arg]
    return energies


@dataclass(frozen=True, eq=False)
class Iteration:
    """The record of one iteration of a search; the first three fields are `[B]`.

    The samples are those drawn in this iteration, followed by those reused from the iteration before (by `ICEM` and
    `PredictiveSampling`); every field includes both.

    Attributes:
        best_energy: Lowest energy among the samples.
        mean_energy: Mean energy of the samples whose energy is finite.
        spread: Standard deviation of the sampling distribution, in half-widths of the action bounds, averaged over the
            entries that are not fixed.
        samples: `[B, S, K, A]`; S is larger than `num_samples` if some were reused.
        energies: Of the samples, `[B, S]`; +inf for NaN, and for samples that the deadline left no time for.
        selected: The samples that the next iteration was computed from, bool `[B, S]`.
    """

    best_energy: Tensor
    mean_energy: Tensor
    spread: Tensor
    samples: Tensor
    energies: Tensor
    selected: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """The plans for B problems.

    Attributes:
        actions: `[B, K, A]`, inside the model's action bounds.
        energy: Energy of `actions`, `[B]`.
        iterations: One record for each iteration that was run.
        warm_starts: Further good sequences, `[B, M, K, A]`, for the next search to start from; None for most planners.
    """

    actions: Tensor
    energy: Tensor
    iterations: tuple[Iteration, ...]
    warm_starts: Tensor | None = None


class Planner(Protocol):
    """An object that computes plans from contexts and goals."""

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
            context: Return value of the model's `encode`.
            goal: `[B, N, D]`.
            generators: B different generators, one for each problem.
            deadline_s: Time [s] after which the best plan so far is returned.
            warm_start: Sequences to start from, `[B, K, A]` or `[B, M, K, A]`: the search starts around the first
                and evaluates all.
            prefix: Actions that are being executed already, `[B, J, A]` with J < K: every plan starts with them.
        """

    def reset(self) -> None:
        """Delete the state of earlier calls, before a new episode."""
