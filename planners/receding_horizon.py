"""Replanning while acting. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from planners.checks import check_count
from planners.errors import PlannerError
from planners.protocols import Context, Plan, Planner


class RecedingHorizon:
    """Plan K steps, act on the first `replan_every` of them, shift the rest into the next search.

    It is a planner itself: call `plan` at every step and carry out `actions[:, 0]`. Between searches
    the held plan is returned, shifted, with its energy and an empty trace. `latencies_s` keeps the
    time of each call since `reset`. Call `reset` when the episode, the goal or the batch changes.

    Args:
        planner: Anything with `plan`.
        replan_every: Actions carried out from one plan, from 1 to the planner's horizon.
        warm_start: Whether the next search starts from the shifted plan.

    Raises:
        PlannerError: If `replan_every` is not a whole number of at least 1; at the first plan, if it
            exceeds the plan's length.
    """

    def __init__(self, planner: Planner, *, replan_every: int = 1, warm_start: bool = True) -> None:
        self.planner = planner
        self.replan_every = check_count("replan_every", replan_every)
        self.warm_start = warm_start
        self.latencies_s: list[float] = []
        self._held: Plan | None = None
        self._age = 0

    def reset(self) -> None:
        """Forget the held plan and the latencies."""
        self.planner.reset()
        self.latencies_s = []
        self._held = None
        self._age = 0

    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """Return the plan for now, `actions[:, 0]` being the action to carry out.

        Args:
            context: What `model.encode` returned for B problems.
            goal: `[B, N, D]`.
            generators: B different generators.
            deadline_s: Passed on to the planner.
            warm_start: `[B, K, A]`; replaces the shifted plan in the search, where there is one.

        Raises:
            PlannerError: If the batch changed without `reset`, or as the planner does.
        """
        started = time.perf_counter()
        held = self._shifted(len(generators))
        if held is None or self._age == self.replan_every:
            if warm_start is None and self.warm_start and held is not None:
                warm_start = held.actions
            held = self.planner.plan(
                context, goal, generators=generators, deadline_s=deadline_s, warm_start=warm_start
            )
            self._check_length(held)
            self._age = 0
        self._held = held
        self._age += 1
        self.latencies_s.append(time.perf_counter() - started)
        return held

    def _shifted(self, batch: int) -> Plan | None:
        if self._held is None:
            return None
        if len(self._held.actions) != batch:
            raise PlannerError(
                f"plan got {batch} problems while a plan for {len(self._held.actions)} is held; allowed is "
                "the same batch until reset. Call reset() when the batch changes."
            )
        return Plan(actions=shift(self._held.actions), energy=self._held.energy, trace=())

    def _check_length(self, plan: Plan) -> None:
        if self.replan_every > plan.actions.shape[1]:
            raise PlannerError(
                f"replan_every is {self.replan_every}, but the planner's plans have {plan.actions.shape[1]} "
                "actions; allowed is at most that. Lower replan_every or raise the planner's horizon."
            )


def shift(actions: Tensor) -> Tensor:
    """Drop the first action of `[B, K, A]` and repeat the last, so that K stays."""
    return torch.cat([actions[:, 1:], actions[:, -1:]], dim=1)
