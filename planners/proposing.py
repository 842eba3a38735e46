"""Searches that start from what somebody proposes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Generator, Tensor

from planners.protocols import Context, Plan, Planner


class Proposing:
    """Starts every search from a proposal: of an inverse model, of a policy.

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

    def plan(
        self,
        context: Context,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """Plan; arguments as the planner's. A `warm_start` that is given takes the proposal's place.

        Raises:
            PlannerError: As the planner does.
        """
        first = self.propose(context, goal) if warm_start is None else warm_start
        return self.planner.plan(
            context, goal, generators=generators, deadline_s=deadline_s, warm_start=first
        )
