"""Replanning while acting. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from planners.bounds import ROUNDING
from planners.checks import check_generators, check_plan, check_planner
from planners.errors import PlannerError
from planners.number_checks import check_count
from planners.protocols import Context, Plan, Planner


@dataclass(frozen=True)
class Latency:
    """Duration of the searches. Times [s] are NaN if there was no search.

    Attributes:
        calls: Calls since `reset`.
        searches: Calls that searched; the others returned actions of an earlier plan.
        p50_s: Median of the searches.
        p95_s: 95th percentile.
        p99_s: 99th percentile.
        max_s: Maximum.
    """

    calls: int
    searches: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float

    @classmethod
    def of(cls, searches_s: Sequence[float], calls: int) -> Latency:
        """Return the percentiles of the durations [s] of searches."""
        percentiles = np.percentile(searches_s, [50, 95, 99, 100]) if len(searches_s) else [math.nan] * 4
        return cls(calls, len(searches_s), *map(float, percentiles))


class RecedingHorizon:
    """Plans K steps, executes the first `replan_every` of them, and starts the next search from the rest.

    It is a planner itself: call `plan` at every step and execute `actions[:, 0]`. Between searches the current plan is
    returned, shifted, with its energy and without iterations. The next search starts from the shifted plan and from the
    shifted `Plan.warm_starts`. `latencies_s` holds the duration of each call since `reset`, `latency` the percentiles
    of the calls that searched. Call `reset` when the episode, the goal or the batch changes, and `select` when some
    problems of the batch have ended.

    `plan` returns when the plan is complete. For an arm that cannot wait, see `BackgroundPlanner`.

    Args:
        planner: The planner that searches.
        replan_every: Actions executed from one plan, from 1 to the planner's horizon.
        warm_start: Whether the next search starts from the shifted plan.

    Raises:
        PlannerError: If `planner` has no `plan` and `reset`, or `replan_every` is not a whole number of at least 1; at
            the first plan, if `replan_every` exceeds the plan's length.
    """

    def __init__(self, planner: Planner, *, replan_every: int = 1, warm_start: bool = True) -> None:
        check_planner("RecedingHorizon", planner)
        self.planner = planner
        self.replan_every = check_count("replan_every", replan_every)
        self.warm_start = warm_start
        self._clear()

    @property
    def latency(self) -> Latency:
        """The durations of the searches since `reset`."""
        times = zip(self.latencies_s, self._searched, strict=True)
        return Latency.of([seconds for seconds, searched in times if searched], len(self.latencies_s))

    def reset(self) -> None:
        """Delete the current plan and the latencies, and reset the planner."""
        self.planner.reset()
        self._clear()

    def _clear(self) -> None:
        self.latencies_s: list[float] = []
        self._searched: list[bool] = []
        self._current: Plan | None = None
        self._age = 0

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some problems of the batch alone, by their indices; the plans of the others are deleted."""
        if self._current is not None:
            self._current = _selected(self._current, list(problems))

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
        """Return the plan for this step; `actions[:, 0]` is the action to execute.

        Args:
            context: What `model.encode` returned for B problems.
            goal: `[B, N, D]`.
            generators: B different generators.
            deadline_s: Passed on to the planner.
            warm_start: `[B, K, A]` or `[B, M, K, A]`; replaces the shifted plan as the start of a search.
            prefix: Passed on to the planner, `[B, J, A]`. If the current plan does not start with it, a new search is
                made.

        Raises:
            PlannerError: If the batch changed without `reset`, or as the planner does.
        """
        started = time.perf_counter()
        check_generators(generators)
        plan = self._shifted(len(generators))
        search = plan is None or self._age == self.replan_every or not _starts_with(plan, prefix)
        if plan is None or search:
            if warm_start is None and self.warm_start and plan is not None:
                warm_start = starts_of(plan)
            plan = self.planner.plan(
                context,
                goal,
                generators=generators,
                deadline_s=deadline_s,
                warm_start=warm_start,
                prefix=prefix,
            )
            check_plan("RecedingHorizon", plan, len(generators))
            self._check_length(plan)
            await_result(plan)
            self._age = 0
        self._current = copy_without_iterations(plan)
        self._age += 1
        self._searched.append(search)
        self.latencies_s.append(time.perf_counter() - started)
        return plan

    def _shifted(self, batch: int) -> Plan | None:
        if self._current is None:
            return None
        check_batch(self._current, batch)
        starts = self._current.warm_starts
        return Plan(
            shift(self._current.actions), self._current.energy, (), None if starts is None else shift(starts)
        )

    def _check_length(self, plan: Plan) -> None:
        if self.replan_every > plan.actions.shape[1]:
            raise PlannerError(
                f"replan_every is {self.replan_every}, but the planner's plans have {plan.actions.shape[1]} "
                "actions; allowed is at most that. Lower replan_every or raise the planner's horizon."
            )


def copy_without_iterations(plan: Plan) -> Plan:
    """Return a copy of a plan without its iterations."""
    starts = None if plan.warm_starts is None else plan.warm_starts.clone()
    return Plan(plan.actions.clone(), plan.energy.clone(), (), starts)


def _selected(plan: Plan, problems: list[int]) -> Plan:
    starts = None if plan.warm_starts is None else plan.warm_starts[problems]
    return Plan(plan.actions[problems], plan.energy[problems], (), starts)


def shift(actions: Tensor, steps: int = 1) -> Tensor:
    """Return actions `[..., K, A]` without the first `steps`, and with the last repeated, so that K does not change."""
    last = actions.shape[-2] - 1
    indices = torch.arange(steps, steps + last + 1, device=actions.device).clamp(max=last)
    return actions.index_select(-2, indices)


def starts_of(plan: Plan, steps: int = 0) -> Tensor:
    """Return the starting sequences of the next search, `[B, 1+M, K, A]`: the plan and its warm starts, shifted."""
    first = plan.actions.unsqueeze(1)
    every = first if plan.warm_starts is None else torch.cat([first, plan.warm_starts.to(first)], dim=1)
    return shift(every, steps)


def check_batch(current: Plan, batch: int) -> None:
    """Check that the current plan is for `batch` problems.

    Raises:
        PlannerError: If it is not.
    """
    if len(current.actions) != batch:
        raise PlannerError(
            f"plan got {batch} problems while a plan for {len(current.actions)} is held; allowed is "
            "the same batch until reset. Call reset() when the batch changes."
        )


def await_result(plan: Plan) -> None:
    """Wait until an accelerator has computed a plan."""
    plan.energy.cpu()


def _starts_with(plan: Plan, prefix: Tensor | None) -> bool:
    if prefix is None:
        return True
    if not isinstance(prefix, Tensor) or prefix.ndim != 3:
        return False  # the planner raises the error
    first = plan.actions[:, : prefix.shape[1]]
    return first.shape == prefix.shape and torch.allclose(first, prefix.to(first), rtol=0.0, atol=ROUNDING)
