"""What a planner sees of the world, and what it gives back.

Shapes: B problems, S samples, K steps of the horizon, A action size, N tokens a frame, D width,
T frames, C channels, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from torch import Generator, Tensor

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
        """Encode what was seen: uint8 `[B, T, C, H, W]` and states `[B, T, S]`."""

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: uint8 `[B, C, H, W]` to features `[B, N, D]`."""

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        """Imagine: actions `[B, S, K, A]` to predicted features `[B, S, K, N, D]`, one for each action."""


class Objective(Protocol):
    """What is minimised."""

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        """Return energies `[B, S]` of predictions `[B, S, K, N, D]` for goals `[B, N, D]`."""


@dataclass(frozen=True, eq=False)
class Iteration:
    """How one iteration of a search went; each field is `[B]`.

    Attributes:
        best_energy: Lowest energy among this iteration's samples.
        mean_energy: Mean energy of the samples whose energy is finite.
        spread: Standard deviation sampled from, in half-widths of the box, averaged over steps and
            the axes that are not frozen.
    """

    best_energy: Tensor
    mean_energy: Tensor
    spread: Tensor


@dataclass(frozen=True, eq=False)
class Plan:
    """The answer to B problems.

    Attributes:
        actions: `[B, K, A]`, inside the model's bounds.
        energy: `[B]`, the objective's value for `actions` as the model imagined them.
        trace: One entry for each iteration that was run.
    """

    actions: Tensor
    energy: Tensor
    trace: tuple[Iteration, ...]


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
    ) -> Plan:
        """Plan for B problems; `goal` is `[B, N, D]`, one generator a problem, `warm_start` `[B, K, A]`."""

    def reset(self) -> None:
        """Forget what earlier calls left behind, before a new episode."""
