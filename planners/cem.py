"""The cross-entropy method of V-JEPA 2-AC. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor

from planners.checks import (
    check_choice,
    check_count,
    check_energy,
    check_fraction,
    check_positive,
    check_problems,
    check_rollout,
    check_warm_start,
    read_box,
)
from planners.protocols import Context, Iteration, Objective, Plan, WorldModel
from planners.sampling import fit_gaussian, sample_bounded_gaussian, select_elites, usable_energy


class CEM:
    r"""Fit a Gaussian over action sequences to its own best samples, again and again.

    .. math:: \mu \leftarrow m_\mu \mu + (1 - m_\mu) \, \mathrm{mean}(elites), \qquad
              \sigma \leftarrow m_\sigma \sigma + (1 - m_\sigma) \, \mathrm{std}(elites)

    Samples are clipped to the model's box. The start is the box's centre (or the warm start) and
    `initial_std` half-widths. The defaults are V-JEPA 2-AC's; there the gripper axis alone has
    `momentum_std` 0.15, which a sequence of A numbers expresses.

    Two departures. The published planner returns the last mean without looking at it: two good modes
    can average to a bad mean. Here the mean is scored too, and `answer="best"` returns the better of
    the mean and the best sample seen; `answer="mean"` is the published choice. And the box's centre
    replaces zero, which is the same for a symmetric box.

    Args:
        model: What imagines. Its bounds are read at each call.
        objective: What is minimised.
        horizon: K, steps planned ahead, at least 1.
        num_samples: S, sequences tried in an iteration, at least 1.
        num_iterations: At least 1.
        num_elites: Samples refitted to, from 1 to `num_samples`.
        momentum_mean: Share of the old mean kept, in [0, 1]: a number, or one for each of A axes.
        momentum_std: Share of the old standard deviation kept, likewise.
        initial_std: First standard deviation in half-widths of the box, above 0.
        answer: "best" or "mean", as above.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4 and appendix).
    """

    def __init__(
        self,
        model: WorldModel,
        *,
        objective: Objective,
        horizon: int = 1,
        num_samples: int = 800,
        num_iterations: int = 10,
        num_elites: int = 10,
        momentum_mean: float | Sequence[float] = 0.15,
        momentum_std: float | Sequence[float] = 0.75,
        initial_std: float = 1.0,
        answer: Literal["best", "mean"] = "best",
    ) -> None:
        low, _ = read_box(model)
        self.model = model
        self.objective = objective
        self.horizon = check_count("horizon", horizon)
        self.num_samples = check_count("num_samples", num_samples)
        self.num_iterations = check_count("num_iterations", num_iterations)
        self.num_elites = check_count("num_elites", num_elites, most=num_samples, most_name="num_samples")
        self.momentum_mean = check_fraction("momentum_mean", momentum_mean, len(low))
        self.momentum_std = check_fraction("momentum_std", momentum_std, len(low))
        self.initial_std = check_positive("initial_std", initial_std)
        self.answer = check_choice("answer", answer, ("best", "mean"))

    def reset(self) -> None:
        """Nothing to forget: each call starts anew."""

    @torch.no_grad()
    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """Search for the action sequences of lowest energy, one search a problem.

        Args:
            context: What `model.encode` returned for B problems.
            goal: Features of B goal images, `[B, N, D]`.
            generators: B different generators.
            deadline_s: Time [s] after which the best plan so far is returned. An iteration is not started
                when the one before took longer than what is left; the first one always runs. How many
                run then depends on the machine, and so does the plan.
            warm_start: First mean, `[B, K, A]`, clipped to the box.

        Raises:
            PlannerError: If shapes do not belong together, a generator serves two problems, or all
                samples of a problem have NaN or infinite energy.
        """
        started = time.perf_counter()
        low, high = read_box(self.model)
        check_problems(goal, generators, deadline_s)
        mean, std = self._first_gaussian(low, high, len(generators), warm_start)
        best: tuple[Tensor, Tensor] | None = None
        trace: list[Iteration] = []
        for _ in range(self.num_iterations):
            iteration_started = time.perf_counter()
            samples = sample_bounded_gaussian(mean, std, low, high, self.num_samples, generators)
            energy = usable_energy(self._energy(context, samples, goal))
            best = _better(best, _lowest(samples, energy))
            trace.append(_summary(energy, std, low, high))
            mean, std = self._refit(mean, std, select_elites(samples, energy, self.num_elites))
            mean = torch.clamp(mean, low, high)
            now = time.perf_counter()
            expected_end = now + (now - iteration_started)
            if deadline_s is not None and expected_end - started > deadline_s:
                break
        assert best is not None  # num_iterations >= 1
        actions, best_energy = self._choose(context, goal, mean, best)
        return Plan(actions=actions, energy=best_energy, trace=tuple(trace))

    def _first_gaussian(
        self, low: Tensor, high: Tensor, batch: int, warm_start: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        shape = (batch, self.horizon, len(low))
        std = ((high - low) / 2 * self.initial_std).expand(shape)
        if warm_start is None:
            return ((low + high) / 2).expand(shape), std
        check_warm_start(warm_start, shape)
        return torch.clamp(warm_start.to(low), low, high), std

    def _energy(self, context: Context, samples: Tensor, goal: Tensor) -> Tensor:
        predicted = self.model.rollout(context, samples)
        check_rollout(predicted, samples)
        energy = self.objective(predicted, goal, samples)
        check_energy(energy, samples)
        return energy

    def _refit(self, mean: Tensor, std: Tensor, elites: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        elite_mean, elite_std = fit_gaussian(elites)
        keep_mean = torch.tensor(self.momentum_mean, dtype=mean.dtype, device=mean.device)
        keep_std = torch.tensor(self.momentum_std, dtype=std.dtype, device=std.device)
        return (
            keep_mean * mean + (1 - keep_mean) * elite_mean,
            keep_std * std + (1 - keep_std) * elite_std,
        )

    def _choose(
        self, context: Context, goal: Tensor, mean: Tensor, best: tuple[Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Return actions `[B, K, A]` and energies `[B]`: the mean's where it is better, or asked for."""
        mean_energy = self._energy(context, mean[:, None], goal)[:, 0]
        best_actions, best_energy = best
        # A comparison with NaN is false: a mean whose energy is NaN never wins.
        takes_mean = mean_energy < (torch.inf if self.answer == "mean" else best_energy)
        return (
            torch.where(takes_mean[:, None, None], mean, best_actions),
            torch.where(takes_mean, mean_energy, best_energy),
        )


def _lowest(samples: Tensor, energy: Tensor) -> tuple[Tensor, Tensor]:
    """Return each problem's best sample `[B, K, A]` and its energy `[B]`."""
    value, index = energy.min(dim=1)
    return samples[torch.arange(len(samples), device=samples.device), index], value


def _better(old: tuple[Tensor, Tensor] | None, new: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the better of two answers, problem by problem."""
    if old is None:
        return new
    improved = new[1] < old[1]
    return torch.where(improved[:, None, None], new[0], old[0]), torch.where(improved, new[1], old[1])


def _summary(energy: Tensor, std: Tensor, low: Tensor, high: Tensor) -> Iteration:
    free = high > low
    relative = std[..., free] / ((high - low) / 2)[free]
    return Iteration(
        best_energy=energy.min(dim=1).values,
        mean_energy=torch.stack([e[e < torch.inf].mean() for e in energy]),
        spread=torch.stack([r.mean() if r.numel() else r.new_zeros(()) for r in relative]),
    )
