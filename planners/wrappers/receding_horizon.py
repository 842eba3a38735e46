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
from planners.checks import check_count, check_generators, check_plan, check_planner
from planners.errors import PlannerError
from planners.protocols import Context, Plan, Planner


@dataclass(frozen=True)
class Latency:
    """How long searches took. Times [s] are NaN where nothing was searched.

    Attributes:
        calls: Calls since `reset`.
        searches: Those of them that searched; the others handed out what had been planned before.
        p50_s: Median of the searches.
        p95_s: 95 of 100 searches took no longer.
        p99_s: 99 of 100.
        max_s: The longest.
    """

    calls: int
    searches: int
    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float

    @classmethod
    def of(cls, searches_s: Sequence[float], calls: int) -> Latency:
        """Sum up the times [s] of searches."""
        figures = np.percentile(searches_s, [50, 95, 99, 100]) if len(searches_s) else [math.nan] * 4
        return cls(calls, len(searches_s), *map(float, figures))


class RecedingHorizon:
    """Plan K steps, act on the first `replan_every` of them, shift the rest into the next search.

    It is a planner itself: call `plan` at every step and carry out `actions[:, 0]`. Between searches
    the held plan is returned, shifted, with its energy and an empty trace. The next search starts from the shifted
    plan and, after it, from what the planner kept beside it (`Plan.kept`), shifted alike. `latencies_s` keeps the
    time of each call since `reset`, `latency` sums up those that searched. Call `reset` when the episode, the goal or
    the batch changes.

    `plan` returns when the plan is there. For an arm that cannot wait, see `BackgroundPlanner`.

    Args:
        planner: Anything with `plan`.
        replan_every: Actions carried out from one plan, from 1 to the planner's horizon.
        warm_start: Whether the next search starts from the shifted plan.

    Raises:
        PlannerError: If `planner` does not plan, or `replan_every` is not a whole number of at least 1; at the first
            plan, if it exceeds the plan's length.
    """

    def __init__(self, planner: Planner, *, replan_every: int = 1, warm_start: bool = True) -> None:
        check_planner("RecedingHorizon", planner)
        self.planner = planner
        self.replan_every = check_count("replan_every", replan_every)
        self.warm_start = warm_start
        self._forget()

    @property
    def latency(self) -> Latency:
        """How long the searches since `reset` took."""
        times = zip(self.latencies_s, self._searched, strict=True)
        return Latency.of([seconds for seconds, searched in times if searched], len(self.latencies_s))

    def reset(self) -> None:
        """Forget the held plan and the latencies."""
        self.planner.reset()
        self._forget()

    def _forget(self) -> None:
        self.latencies_s: list[float] = []
        self._searched: list[bool] = []
        self._held: Plan | None = None
        self._age = 0

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
        """Return the plan for now, `actions[:, 0]` being the action to carry out.

        Args:
            context: What `model.encode` returned for B problems.
            goal: `[B, N, D]`.
            generators: B different generators.
            deadline_s: Passed on to the planner.
            warm_start: `[B, K, A]` or `[B, M, K, A]`; replaces the shifted plan in the search, where there is one.
            prefix: Passed on to the planner, `[B, J, A]`. A held plan that does not begin with it is not handed out:
                a new one is sought.

        Raises:
            PlannerError: If the batch changed without `reset`, or as the planner does.
        """
        started = time.perf_counter()
        check_generators(generators)
        held = self._shifted(len(generators))
        search = held is None or self._age == self.replan_every or not _begins_with(held, prefix)
        if held is None or search:
            if warm_start is None and self.warm_start and held is not None:
                warm_start = starts_of(held)
            held = self.planner.plan(
                context,
                goal,
                generators=generators,
                deadline_s=deadline_s,
                warm_start=warm_start,
                prefix=prefix,
            )
            check_plan("RecedingHorizon", held, len(generators))
            self._check_length(held)
            await_result(held)
            self._age = 0
        self._held = own_copy(held)
        self._age += 1
        self._searched.append(search)
        self.latencies_s.append(time.perf_counter() - started)
        return held

    def _shifted(self, batch: int) -> Plan | None:
        if self._held is None:
            return None
        check_batch(self._held, batch)
        kept = self._held.kept
        return Plan(shift(self._held.actions), self._held.energy, (), None if kept is None else shift(kept))

    def _check_length(self, plan: Plan) -> None:
        if self.replan_every > plan.actions.shape[1]:
            raise PlannerError(
                f"replan_every is {self.replan_every}, but the planner's plans have {plan.actions.shape[1]} "
                "actions; allowed is at most that. Lower replan_every or raise the planner's horizon."
            )


def own_copy(plan: Plan) -> Plan:
    """Return a plan without its trace, of tensors that nobody else writes into."""
    kept = None if plan.kept is None else plan.kept.clone()
    return Plan(plan.actions.clone(), plan.energy.clone(), (), kept)


def shift(actions: Tensor, steps: int = 1) -> Tensor:
    """Drop the first `steps` actions of `[..., K, A]` and repeat the last, so that K stays."""
    last = actions.shape[-2] - 1
    places = torch.arange(steps, steps + last + 1, device=actions.device).clamp(max=last)
    return actions.index_select(-2, places)


def starts_of(plan: Plan, steps: int = 0) -> Tensor:
    """Return what a search starts from after a plan, `[B, 1+M, K, A]`: the plan, then what was kept, both shifted."""
    first = plan.actions.unsqueeze(1)
    every = first if plan.kept is None else torch.cat([first, plan.kept.to(first)], dim=1)
    return shift(every, steps)


def check_batch(held: Plan, batch: int) -> None:
    """Check that a held plan is for `batch` problems.

    Raises:
        PlannerError: If it is not.
    """
    if len(held.actions) != batch:
        raise PlannerError(
            f"plan got {batch} problems while a plan for {len(held.actions)} is held; allowed is "
            "the same batch until reset. Call reset() when the batch changes."
        )


def await_result(plan: Plan) -> None:
    """Wait until a plan's numbers are there: an accelerator is handed work, and answers before it is done."""
    plan.energy.cpu()


def _begins_with(plan: Plan, prefix: Tensor | None) -> bool:
    if prefix is None:
        return True
    if not isinstance(prefix, Tensor) or prefix.ndim != 3:
        return False  # the planner says what is wrong, here and with a wrong shape
    begun = plan.actions[:, : prefix.shape[1]]
    return begun.shape == prefix.shape and torch.allclose(begun, prefix.to(begun), rtol=0.0, atol=ROUNDING)
