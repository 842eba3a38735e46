"""Energies of samples: imagined slice by slice, until the time is up. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from planners.checks import check_energy, check_rollout
from planners.errors import PlannerError
from planners.protocols import (
    Context,
    JudgingWorldModel,
    Objective,
    SlicedWorldModel,
    StatefulWorldModel,
    WorldModel,
)


class Clock:
    """Says whether there is time for one more batch.

    A batch is not begun when the longest one so far took longer than what is left; the first one always is. So a
    deadline is overrun by no more than a batch.

    Args:
        deadline_s: Time [s] from now on; None for no end.
    """

    def __init__(self, deadline_s: float | None) -> None:
        self._started = self._last = time.perf_counter()
        self._deadline_s = deadline_s
        self._longest_s = 0.0

    def tick(self, energy: Tensor) -> None:
        """Note that a batch has ended, whose energies an accelerator may hand out before it has them."""
        if self._deadline_s is not None:
            energy.cpu()
        now = time.perf_counter()
        self._longest_s = max(self._longest_s, now - self._last)
        self._last = now

    def is_up(self) -> bool:
        """Return whether no further batch would be in time."""
        if self._deadline_s is None:
            return False
        return time.perf_counter() + self._longest_s - self._started > self._deadline_s


class Scorer:
    """The energies of action sequences for one call of a planner.

    Args:
        model: What imagines.
        objective: What judges.
        context: B problems.
        goal: `[B, N, D]`.
        clock: Told of each slice, and asked before all but the first of a call.
        slice_size: Samples imagined at once; None asks the model, which without a word of its own gets all.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        context: Context,
        goal: Tensor,
        clock: Clock,
        slice_size: int | None = None,
    ) -> None:
        self.model, self.objective = model, objective
        self.context, self.goal = context, goal
        self.clock = clock
        self._slice_size = slice_size

    def __call__(self, actions: Tensor, judge: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return energies `[B, S]` of actions `[B, S, K, A]`, float32: +inf for NaN, and where there was no time.

        Args:
            actions: What is tried.
            judge: Returns the energies of a slice, in place of :meth:`energy`.
        """
        judge = judge or self.energy
        energies: list[Tensor] = []
        count = actions.shape[1]
        for part in actions.split(self._size(count, actions.shape[2]), dim=1):
            if energies and self.clock.is_up():
                break
            energy = judge(part)
            energies.append(torch.where(torch.isnan(energy), torch.inf, energy).float())
            self.clock.tick(energies[-1])
        scored = torch.cat(energies, dim=1)
        return torch.nn.functional.pad(scored, (0, count - scored.shape[1]), value=torch.inf)

    def energy(self, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, imagined at once.

        Raises:
            PlannerError: If the model's or the objective's answer has the wrong shape, or states are asked of a model
                that imagines none.
        """
        if isinstance(self.model, JudgingWorldModel):
            energy = self.model.energy(self.objective, self.context, self.goal, actions)
        else:
            energy = imagined_energy(self.model, self.objective, self.context, self.goal, actions)
        check_energy(energy, actions)
        return energy

    def _size(self, count: int, horizon: int) -> int:
        best = self._slice_size or count
        if self._slice_size is None and isinstance(self.model, SlicedWorldModel):
            best = max(1, self.model.samples_at_once(self.context, horizon))
        slices = -(-count // min(best, count))
        return -(-count // slices)  # slices of one size, but for the last


def imagined_energy(
    model: WorldModel, objective: Objective, context: Context, goal: Tensor, actions: Tensor
) -> Tensor:
    """Return the energies `[B, S]` of what a model imagines of actions `[B, S, K, A]`."""
    if not getattr(objective, "needs_states", False):
        predicted = model.rollout(context, actions)
        check_rollout(predicted, actions)
        return objective(predicted, goal, actions)
    if not isinstance(model, StatefulWorldModel):
        raise PlannerError(
            f"{type(objective).__name__} needs the imagined states, and {type(model).__name__} has no "
            "rollout_with_states. Give the model that method, or leave the objective out."
        )
    predicted, states = model.rollout_with_states(context, actions)
    check_rollout(predicted, actions)
    judged: Tensor = objective(predicted, goal, actions, states=states)  # type: ignore[call-arg]
    return judged
