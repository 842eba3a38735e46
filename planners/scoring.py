"""Energies of samples, computed slice by slice until the deadline. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from planners.checks import (
    check_energies,
    check_not_modified,
    check_rollout,
    check_rollout_with_states,
    protected_view,
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
    energy_for,
    evaluate_energy,
    needs_states,
)

LEAST_S = 0.005
"""Least expected duration of a batch [s], however few its samples are, unless a batch took less."""


class Deadline:
    """Decides whether there is time for one more batch of samples.

    A batch is not started if its expected duration exceeds the time left; the first one always is. The duration is
    estimated from the time of one sample in the faster of the last two batches, so a single slow batch (warming up)
    has no lasting effect. It is at least `LEAST_S`, or the time of the faster batch if that is less. As no batch is
    started after the deadline, the deadline is exceeded by one batch at most.

    Args:
        deadline_s: Time [s] from now on; None for no deadline.
    """

    def __init__(self, deadline_s: float | None) -> None:
        self._started = self._last = time.perf_counter()
        self._deadline_s = deadline_s
        self._latest: deque[tuple[float, int]] = deque(maxlen=2)  # seconds and samples

    def record(self, energies: Tensor) -> None:
        """Record the end of a batch with energies `[B, S]`; waits for an accelerator to finish them."""
        if self._deadline_s is not None:
            energies.cpu()
        now = time.perf_counter()
        self._latest.append((now - self._last, energies.shape[1]))
        self._last = now

    def excludes(self, samples: int) -> bool:
        """Return whether a batch of so many samples per problem would end after the deadline."""
        if self._deadline_s is None:
            return False
        return time.perf_counter() + self._expected_s(samples) - self._started > self._deadline_s

    def _expected_s(self, samples: int) -> float:
        if not self._latest:
            return 0.0
        sample_s = min(seconds / count for seconds, count in self._latest)
        return max(samples * sample_s, min(LEAST_S, *(seconds for seconds, _ in self._latest)))


class Scorer:
    """Computes the energies of action sequences in one call of a planner.

    Args:
        model: The world model.
        energy: What is minimised.
        context: B problems.
        goal: `[B, N, D]`.
        deadline: Checked before every slice but the first of a call.
        slice_size: Samples imagined in one call of the model; None uses the model's `samples_at_once`, or all samples.
    """

    def __init__(
        self,
        model: WorldModel,
        energy: Energy,
        context: Context,
        goal: Tensor,
        deadline: Deadline,
        slice_size: int | None = None,
    ) -> None:
        self.model, self.energy = model, energy_for(energy, context, goal)
        self.context, self.goal = context, goal
        self.deadline = deadline
        self._slice_size = slice_size

    def has_time_for(self, actions: Tensor) -> bool:
        """Return whether the first slice of actions `[B, S, K, A]` would end before the deadline."""
        return not self.deadline.excludes(self._size(*actions.shape[1:3]))

    def __call__(self, actions: Tensor, energy_of: Callable[[Tensor], Tensor] | None = None) -> Tensor:
        """Return energies `[B, S]` of actions `[B, S, K, A]`: +inf if not finite, or if there was no time for them.

        They are float32, or float64 if the energy returns float64.

        Args:
            actions: The samples.
            energy_of: Returns the energies of a slice, in place of :meth:`score`.
        """
        energy_of = energy_of or self.score
        energies: list[Tensor] = []
        count = actions.shape[1]
        for samples in actions.split(self._size(count, actions.shape[2]), dim=1):
            if energies and self.deadline.excludes(samples.shape[1]):
                break
            energies.append(_inf_if_not_finite(energy_of(samples)))
            self.deadline.record(energies[-1])
        scored = torch.cat(energies, dim=1)
        return torch.nn.functional.pad(scored, (0, count - scored.shape[1]), value=torch.inf)

    def score(self, actions: Tensor) -> Tensor:
        """Return the energies `[B, S]` of actions `[B, S, K, A]`, in one call of the model.

        Raises:
            PlannerError: If the model or the energy returns a wrong shape, or the energy needs states and the model
                predicts none.
        """
        if not isinstance(self.model, EnergyWorldModel):
            return imagined_energies(self.model, self.energy, self.context, self.goal, actions)
        goal = protected_view(self.goal)
        before = {"goal": (goal, version_of(goal))}
        energies = self.model.rollout_energies(self.energy, self.context, goal, actions.clone())
        check_not_modified("The world model or the energy", before)
        return check_energies(energies, actions)

    def _size(self, count: int, horizon: int) -> int:
        best = self._slice_size or count
        if self._slice_size is None and isinstance(self.model, SlicedWorldModel):
            best = _check_slice(self.model.samples_at_once(self.context, horizon))
        slices = -(-count // min(best, count))
        return -(-count // slices)  # equal slices, except for the last


def imagined_energies(
    model: WorldModel, energy: Energy, context: Context, goal: Tensor, actions: Tensor
) -> Tensor:
    """Return the energies `[B, S]` of the model's predictions for actions `[B, S, K, A]`.

    Model and energy get copies of the actions, so that modifying them has no effect elsewhere.

    Raises:
        PlannerError: If the model or the energy returns another type or shape, the energy needs states and the model
            predicts none, or the goal was modified.
    """
    goal = protected_view(goal)
    before = {"goal": (goal, version_of(goal))}
    energies = _energies_of(model, energy, context, goal, actions)
    check_not_modified("The world model or the energy", before)
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


def _inf_if_not_finite(energy: Tensor) -> Tensor:
    """Return energies `[B, S]` in float32 (float64 if they are float64 or integers), with +inf if not finite."""
    if energy.dtype != torch.float64:
        energy = energy.to(torch.float32 if energy.is_floating_point() else torch.float64)
    return torch.where(torch.isfinite(energy), energy, torch.inf)


def _check_slice(best: object) -> int:
    if not isinstance(best, int) or isinstance(best, bool):
        raise PlannerError(
            f"The world model's samples_at_once returned {best!r}; allowed is a whole number. Make it return one."
        )
    return max(1, best)
