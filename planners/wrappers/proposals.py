"""Searches that start from what somebody proposes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from planners.bounds import read_box
from planners.checks import check_deadline, check_generators, check_given, check_planner
from planners.errors import PlannerError
from planners.protocols import Context, Plan, Planner, world_of
from planners.wrappers.nesting import inside

LEAST_DEADLINE_S = 0.001
"""What the planner is given [s] where the proposal took all the time: its first batch runs whatever it has."""


class Proposing:
    """Starts every search from a proposal: of an inverse model, of a policy.

    The search begins around the proposal. It is tried, and so is each sequence of the warm start that is given beside
    it, so that a wrong proposal beside a good plan of before does no harm. It stands inside of what replans,
    `RecedingHorizon(Proposing(CEM(...), propose))`: there both meet, and a proposal is made for searches only. Around
    a `RecedingHorizon` it works too; the proposal then takes the place of the plan before.

    A `prefix` goes to the planner alone: a `Search` clips what it starts from to its box, whose first steps are the
    prefix, so that the proposal's first actions give way to those under way.

    The time that the proposal takes is part of `deadline_s`; the planner has what is left.

    Args:
        planner: What searches.
        propose: Returns actions `[B, K, A]` for a context of B problems and their goals `[B, N, D]`.

    Raises:
        PlannerError: If the first does not plan, or the second cannot be called.
    """

    def __init__(self, planner: Planner, propose: Callable[[Context, Tensor], Tensor]) -> None:
        check_planner("Proposing", planner)
        if not callable(propose):
            raise PlannerError(
                f"propose is {propose!r}; allowed is what is called as propose(context, goal) and returns actions "
                "[B, K, A]. Change propose."
            )
        self.planner = planner
        self.propose = propose

    def reset(self) -> None:
        """Forget what the planner remembers."""
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
        """Plan; arguments as the planner's. A `warm_start` that is given is tried after the proposal.

        Raises:
            PlannerError: If the proposal is not `[B, K, A]` and finite, the warm start's sequences have another shape,
                or as the planner does.
        """
        started = time.perf_counter()
        check_deadline(deadline_s)
        check_generators(generators)
        proposal = self.propose(context, check_given("goal", goal, "[B, N, D]").clone())
        self._check(proposal, context, len(generators))
        starts = _starts(proposal, warm_start)
        if deadline_s is not None:
            deadline_s = max(deadline_s - (time.perf_counter() - started), LEAST_DEADLINE_S)
        return self.planner.plan(
            context, goal, generators=generators, deadline_s=deadline_s, warm_start=starts, prefix=prefix
        )

    def _check(self, proposal: Tensor, context: Context, batch: int) -> None:
        """Check a proposal against the batch, and the planner's horizon and world model where it has them."""
        check_given("What propose returned", proposal, "[B, K, A]")
        model = inside(self.planner, "model")
        size = None if model is None else len(read_box(world_of(model, context))[0])
        wanted = (batch, inside(self.planner, "horizon"), size)
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
                "propose returned NaN or infinite entries; allowed are finite actions. Check what proposes and the "
                "observation that it was given."
            )


def _starts(proposal: Tensor, warm_start: Tensor | None) -> Tensor:
    """Return a proposal `[B, K, A]` and after it what else there is to start from, `[B, 1+M, K, A]`."""
    first = proposal.unsqueeze(1)
    if warm_start is None:
        return first
    check_given("warm_start", warm_start, "[B, K, A] or [B, M, K, A]")
    rest = warm_start.unsqueeze(1) if warm_start.ndim == 3 else warm_start
    if rest.ndim != 4 or (len(rest), *rest.shape[2:]) != proposal.shape:
        raise PlannerError(
            f"propose returned shape {tuple(proposal.shape)} beside a warm start of {tuple(warm_start.shape)}; allowed "
            "is [B, K, A], and a warm start [B, K, A] or [B, M, K, A] of the same B, K and A. Give both the planner's "
            "horizon."
        )
    return torch.cat([first, rest.to(first)], dim=1)
