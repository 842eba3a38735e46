"""Searches that start from what somebody proposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from planners.errors import PlannerError
from planners.protocols import Context, Plan, Planner


class Proposing:
    """Starts every search from a proposal: of an inverse model, of a policy.

    The search begins around the proposal. It is tried, and so is each sequence of the warm start that is given beside
    it, so that a wrong proposal beside a good plan of before does no harm. It stands inside of what replans,
    `RecedingHorizon(Proposing(CEM(...), propose))`: there both meet, and a proposal is made for searches only. Around
    a `RecedingHorizon` it works too; the proposal then takes the place of the plan before.

    A `prefix` goes to the planner alone: a `Search` clips what it starts from to its box, whose first steps are the
    prefix, so that the proposal's first actions give way to those under way.

    Args:
        planner: What searches.
        propose: Returns actions `[B, K, A]` for a context of B problems and their goals `[B, N, D]`.
    """

    def __init__(self, planner: Planner, propose: Callable[[Context, Tensor], Tensor]) -> None:
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
            PlannerError: If the proposal has another shape than the warm start's sequences, or as the planner does.
        """
        starts = _starts(self.propose(context, goal), warm_start)
        return self.planner.plan(
            context, goal, generators=generators, deadline_s=deadline_s, warm_start=starts, prefix=prefix
        )


def _starts(proposal: Tensor, warm_start: Tensor | None) -> Tensor:
    """Return a proposal `[B, K, A]` and after it what else there is to start from, `[B, 1+M, K, A]`."""
    first = proposal.unsqueeze(1)
    if warm_start is None:
        given, fits, rest = "no warm start", True, first[:, :0]
    else:
        rest = warm_start if warm_start.ndim == 4 else warm_start.unsqueeze(1)
        given, fits = f"a warm start of {tuple(warm_start.shape)}", rest[:, :1].shape == first.shape
    if first.ndim != 4 or not fits:
        raise PlannerError(
            f"propose returned shape {tuple(proposal.shape)} beside {given}; allowed is [B, K, A], and a warm start "
            "[B, K, A] or [B, M, K, A] of the same B, K and A. Propose as many steps as the planner's horizon."
        )
    return torch.cat([first, rest.to(first)], dim=1)
