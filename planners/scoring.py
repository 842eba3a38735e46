"""Energies of samples: imagined slice by slice, until the time is up. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from planners.checks import (
    check_energies,
    check_rollout,
    check_rollout_with_states,
    check_unwritten,
    handed_out,
    version_of,
)
from planners.errors import PlannerError
from planners.protocols import (
    Context,
    Energy,
    EnergyWorldModel,
    SlicedWorldModel,
    StatefulWorldModel,
    WorldModel,
    evaluate_energy,
    needs_states,
)

LEAST_S = 0.005
"""A batch is judged to take at least so long [s], however few its samples are, unless a larger one took less."""


class Clock:
    """Says whether there is time for one more batch.

    A batch is not begun when it would take longer than what is left; the first one always is. How long it would take
    is judged by what a sample took in the latest two batches, in the quicker of them: so a batch that was slow once,
    for warming up, does not count for long, and a batch of one sample is judged by one sample's time, but by no less
    than `LEAST_S` (or the quicker batch, if that took less). Since none is begun after the deadline, it is overrun by
    no more than a batch.

    Args:
        deadline_s: Time [s] from now on; None for no end.
    """

    def __init__(self, deadline_s: float | None) -> None:
        self._started = self._last = time.perf_counter()
        self._deadline_s = deadline_s
        self._latest: deque[tuple[float, int]] = deque(maxlen=2)  # seconds and samples

    def tick(self, energy: Tensor) -> None:
        """Note that a batch has ended, whose energies `[B, S]` an accelerator may hand out before it has them."""
        if self._deadline_s is not None:
            energy.cpu()
        now = time.perf_counter()
        self._latest.append((now - self._last, energy.shape[1]))
        self._last = now

    def is_up(self, samples: int) -> bool:
        """Return whether a further batch of so many samples a problem would not be in time."""
        if self._deadline_s is None:
            return False
        return time.perf_counter() + self._expected_s(samples) - self._started > self._deadline_s

    def _expected_s(self, samples: int) -> float:
        if not self._latest:
            return 0.0
        sample_s = min(seconds / count for seconds, count in self._latest)
        return max(samples * sample_s, min(LEAST_S, *(seconds for seconds, _ in self._latest)))


class Scorer:
    """The energies of action sequences for one call of a planner.

    Args:
        model: What imagines.
        energy: What is minimised.
        context: B problems.
        goal: `[B, N, D]`.
        clock: Told of each slice, and asked before all but the first of a call.
        slice_size: Samples imagined at once; None asks the model, which without a word of its own gets all.
    """

    def __init__(
        self,
        model: WorldModel,
        energy: Energy,
        context: Context,
        goal: Tensor,
        clock: Clock,
        slice_size: int | None = None,
    ) -> None:
        self.model, self.energy = model, energy
        self.context, self.goal = context, goal
        self.clock = clock
        self._slice_size = slice_size

    def has_time_for(self, actions: Tensor) -> bool:
        """Return whether the first slice of actions `[B, S, K, A]` would be in time."""
        return not self.clock.is_up(self._size(*actions.shape[1:3]))

    def __call__(self, actions: Tensor, energy_of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return energies `[B, S]` of actions `[B, S, K, A]`: +inf for what is not finite, and where there was no time.

        They are float32, or float64 where the energy's are.

        Args:
            actions: What is tried.
            energy_of: Returns the energies of a slice, in place of :meth:`score`.
        """
        energy_of = energy_of or self.score
        energies: list[Tensor] = []
        count = actions.shape[1]
        for part in actions.split(self._size(count, actions.shape[2]), dim=1):
            if energies and self.clock.is_up(part.shape[1]):
                break
            energy = energy_of(part)
            energies.append(_usable(energy))
            self.clock.tick(energies[-1])
        scored = torch.cat(energies, dim=1)
        return torch.nn.functional.pad(scored, (0, count - scored.shape[1]), value=torch.inf)

    def score(self, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, imagined at once.

        Raises:
            PlannerError: If the model's or the energy's answer has the wrong shape, or states are asked of a model
                that imagines none.
        """
        if not isinstance(self.model, EnergyWorldModel):
            return imagined_energies(self.model, self.energy, self.context, self.goal, actions)
        goal = handed_out(self.goal)
        before = {"goal": (goal, version_of(goal))}
        energies = self.model.rollout_energies(self.energy, self.context, goal, actions.clone())
        check_unwritten("The world model or the energy", before)
        return check_energies(energies, actions)

    def _size(self, count: int, horizon: int) -> int:
        best = self._slice_size or count
        if self._slice_size is None and isinstance(self.model, SlicedWorldModel):
            best = _check_slice(self.model.samples_at_once(self.context, horizon))
        slices = -(-count // min(best, count))
        return -(-count // slices)  # slices of one size, but for the last


def imagined_energies(
    model: WorldModel, energy: Energy, context: Context, goal: Tensor, actions: Tensor
) -> Tensor:
    """Return the energies `[B, S]` of what a model imagines of actions `[B, S, K, A]`.

    Model and energy are given copies of the actions, so what they write into them reaches nobody else.

    Raises:
        PlannerError: If an answer is of another kind or shape, states are asked of a model that imagines none, or the
            goal was written to.
    """
    goal = handed_out(goal)
    before = {"goal": (goal, version_of(goal))}
    energies = _energies_of(model, energy, context, goal, actions)
    check_unwritten("The world model or the energy", before)
    return check_energies(energies, actions)


def _energies_of(
    model: WorldModel, energy: Energy, context: Context, goal: Tensor, actions: Tensor
) -> object:
    if not needs_states(energy):
        predicted = check_rollout(model.rollout(context, actions.clone()), actions, goal)
        return evaluate_energy(energy, predicted, goal, actions.clone())
    if not isinstance(model, StatefulWorldModel):
        raise PlannerError(
            f"{type(energy).__name__} needs the imagined states, and {type(model).__name__} has no "
            "rollout_with_states. Give the model that method, or leave the energy out."
        )
    found = model.rollout_with_states(context, actions.clone())
    predicted, states = check_rollout_with_states(found, actions, goal)
    return evaluate_energy(energy, predicted, goal, actions.clone(), states)


def _usable(energy: Tensor) -> Tensor:
    """Return energies as float32, or float64 where float32 is too coarse, with +inf for all that is not finite."""
    if energy.dtype != torch.float64:
        energy = energy.to(torch.float32 if energy.is_floating_point() else torch.float64)
    return torch.where(torch.isfinite(energy), energy, torch.inf)


def _check_slice(best: object) -> int:
    if not isinstance(best, int) or isinstance(best, bool):
        raise PlannerError(
            f"The world model's samples_at_once returned {best!r}; allowed is a whole number. Make it return one."
        )
    return max(1, best)
