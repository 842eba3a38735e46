"""Searches that start from a proposal, of an inverse model or a policy. Shapes as in `planners.protocols`."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from planners.bounds import read_bounds
from planners.checks import check_data, check_deadline, check_generators, check_planner
from planners.errors import PlannerError
from planners.protocols import Context, Plan, Planner, model_for_context
from planners.wrappers.unwrap import find_attribute

LEAST_DEADLINE_S = 0.001
"""Deadline of the planner [s] if the proposal used up all the time; its first batch always runs."""


class ProposalPlanner:
    """Starts every search from a proposal, of an inverse model or a policy.

    The search starts around the proposal, and evaluates the proposal and every sequence of the warm start, so that a
    wrong proposal does no harm next to a good earlier plan. It belongs inside of a `RecedingHorizon`, as
    `RecedingHorizon(ProposalPlanner(CEM(...), propose))`: a proposal is then made for searches only, and the earlier
    plan is the warm start. Around a `RecedingHorizon` the proposal replaces the earlier plan.

    A `prefix` is passed to the planner only: a `Search` clips its starting sequences to bounds whose first steps are
    the prefix, so that the prefix replaces the proposal's first actions.

    The time of the proposal is part of `deadline_s`; the planner gets the rest.

    Args:
        planner: The planner that searches.
        propose: Returns actions `[B, K, A]` for a context of B problems and their goals `[B, N, D]`.

    Raises:
        PlannerError: If `planner` has no `plan` and `reset`, or `propose` cannot be called.
    """

    def __init__(self, planner: Planner, propose: Callable[[Context, Tensor], Tensor]) -> None:
        check_planner("ProposalPlanner", planner)
        if not callable(propose):
            raise PlannerError(
                f"propose is {propose!r}; allowed is what is called as propose(context, goal) and returns actions "
                "[B, K, A]. Change propose."
            )
        self.planner = planner
        self.propose = propose

    def reset(self) -> None:
        """Reset the planner."""
        self.planner.reset()

    @torch.no_grad()
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
        """Plan for B problems; arguments as in `Planner`. The `warm_start` is evaluated after the proposal.

        Raises:
            PlannerError: If the proposal is not `[B, K, A]` and finite, the warm start's sequences have another shape,
                or as the planner does.
        """
        started = time.perf_counter()
        check_deadline(deadline_s)
        check_generators(generators)
        proposal = self.propose(context, check_data("goal", goal, "[B, N, D]").clone())
        self._check(proposal, context, len(generators))
        starts = _starts(proposal, warm_start)
        if deadline_s is not None:
            deadline_s = max(deadline_s - (time.perf_counter() - started), LEAST_DEADLINE_S)
        return self.planner.plan(
            context, goal, generators=generators, deadline_s=deadline_s, warm_start=starts, prefix=prefix
        )

    def _check(self, proposal: Tensor, context: Context, batch: int) -> None:
        """Check a proposal against the batch, and the planner's horizon and action size if they are known."""
        check_data("What propose returned", proposal, "[B, K, A]")
        model = find_attribute(self.planner, "model")
        size = None if model is None else len(read_bounds(model_for_context(model, context))[0])
        wanted = (batch, find_attribute(self.planner, "horizon"), size)
        shape = tuple(proposal.shape)
        fits = len(shape) == 3 and all(
            size is None or size == got for size, got in zip(wanted, shape, strict=True)
        )
        if not fits:
            known = ", ".join(
                name if size is None else f"{name}={size}" for name, size in zip("BKA", wanted, strict=True)
            )
            raise PlannerError(
                f"propose returned shape {shape}; allowed is [B, K, A] with {known}. Propose as many actions as the "
                "planner's horizon for each problem."
            )
        if not bool(torch.isfinite(proposal).all()):
            raise PlannerError(
                "propose returned NaN or infinite entries; allowed are finite actions. Check propose and "
                "the observation that it was given."
            )


def _starts(proposal: Tensor, warm_start: Tensor | None) -> Tensor:
    """Return the proposal `[B, K, A]` followed by the sequences of the warm start, `[B, 1+M, K, A]`."""
    first = proposal.unsqueeze(1)
    if warm_start is None:
        return first
    check_data("warm_start", warm_start, "[B, K, A] or [B, M, K, A]")
    rest = warm_start.unsqueeze(1) if warm_start.ndim == 3 else warm_start
    if rest.ndim != 4 or (len(rest), *rest.shape[2:]) != proposal.shape:
        raise PlannerError(
            f"propose returned shape {tuple(proposal.shape)} and the warm start has {tuple(warm_start.shape)}; allowed "
            "is [B, K, A], and a warm start [B, K, A] or [B, M, K, A] of the same B, K and A. Give both the planner's "
            "horizon."
        )
    return torch.cat([first, rest.to(first)], dim=1)
