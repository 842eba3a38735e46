"""Goals in a sequence. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

from torch import Generator, Tensor

from planners.checks import check_generators, check_plan, check_planner
from planners.errors import PlannerError
from planners.number_checks import check_count
from planners.protocols import Context, Plan, Planner


class SubGoals:
    """Pursues G goals in turn, each for a number of actions: grasp, carry, put down.

    Each call of `plan` is one action, also if an inner `RecedingHorizon` searches in some of the calls only. After
    `steps[g]` actions the next call uses goal g + 1, for all problems; the last goal has no end. Between two goals the
    inner planner is `reset`, so that no plan for the old goal is used; this also deletes the latencies of a
    `RecedingHorizon`.

    Args:
        planner: Plans for one goal.
        steps: Actions for each goal. The default is V-JEPA 2-AC's for pick and place.
        reached_energy: A goal also ends if a plan's energy is at or below this value; for a single problem only. The
            energy is that of the predicted end of the plan, more than one action ahead if the horizon is above 1.

    Raises:
        PlannerError: If an argument is not allowed.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4).
    """

    def __init__(
        self, planner: Planner, steps: Sequence[int] = (4, 10, 4), *, reached_energy: float | None = None
    ) -> None:
        check_planner("SubGoals", planner)
        self.planner = planner
        self.steps = _check_steps(steps)
        self.reached_energy = _check_energy(reached_energy)
        self._current = 0
        self._step = 0
        self._reached = False

    @property
    def current(self) -> int:
        """Index of the goal of the last plan; 0 before the first plan."""
        return self._current

    @property
    def finished(self) -> bool:
        """Whether the last goal has ended: its steps are used up, or its energy was reached."""
        return self._current == len(self.steps) - 1 and self._is_over()

    def reset(self) -> None:
        """Return to the first goal, and reset the planner."""
        self.planner.reset()
        self._go_to(0)

    def plan(
        self,
        context: Context,
        goal: Sequence[Tensor],
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        """Return a plan for the current goal; `actions[:, 0]` is the action to execute.

        Args:
            context: What `model.encode` returned for B problems.
            goal: All G goals in each call, a list or tuple of `[B, N, D]`.
            generators: B different generators.
            deadline_s: Passed on to the planner, as the next two are.
            warm_start: `[B, K, A]` or `[B, M, K, A]`.
            prefix: `[B, J, A]`.

        Raises:
            PlannerError: If there are not G goals of one shape, `reached_energy` is set for several problems, or as the
                planner does.
        """
        self._check_goals(goal)
        check_generators(generators)
        if self._is_over() and self._current < len(self.steps) - 1:
            self.planner.reset()
            self._go_to(self._current + 1)
        plan = self.planner.plan(
            context,
            goal[self._current],
            generators=generators,
            deadline_s=deadline_s,
            warm_start=warm_start,
            prefix=prefix,
        )
        check_plan("SubGoals", plan, len(generators))
        self._step += 1
        if self.reached_energy is not None:
            self._reached = self._reached or bool(plan.energy <= self.reached_energy)
        return plan

    def _is_over(self) -> bool:
        return self._reached or self._step >= self.steps[self._current]

    def _go_to(self, goal: int) -> None:
        self._current, self._step, self._reached = goal, 0, False

    def _check_goals(self, goal: Sequence[Tensor]) -> None:
        count = len(self.steps)
        listed = isinstance(goal, list | tuple) and all(isinstance(g, Tensor) for g in goal)
        if not listed or len(goal) != count:
            raise PlannerError(
                f"SubGoals got {_described(goal)}; allowed is a list of {count} goals [B, N, D], one for each of "
                f"steps={self.steps}. Pass all goals at each call, or change steps."
            )
        shapes = [tuple(g.shape) for g in goal]
        if len(shapes[0]) != 3 or any(shape != shapes[0] for shape in shapes):
            raise PlannerError(
                f"SubGoals got goals of shapes {shapes}; allowed is [B, N, D], the same for all. Encode them with one "
                "world model, for the same problems."
            )
        if self.reached_energy is not None and shapes[0][0] != 1:
            raise PlannerError(
                f"SubGoals has reached_energy={self.reached_energy:g} and got {shapes[0][0]} problems; allowed is one, "
                "since all problems go on to the next goal together and one would depend on another. Plan for each "
                "with SubGoals of its own, or leave reached_energy out."
            )


def _check_steps(steps: Sequence[int]) -> tuple[int, ...]:
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise PlannerError(
            f"steps is {steps!r}; allowed is a list of whole numbers of at least 1, one for each goal. Change steps."
        )
    return tuple(check_count(f"steps[{g}]", count) for g, count in enumerate(steps))


def _check_energy(energy: float | None) -> float | None:
    if energy is not None and not (isinstance(energy, Real) and math.isfinite(energy)):
        raise PlannerError(
            f"reached_energy is {energy!r}; allowed is None or a finite number. Change reached_energy."
        )
    return energy


def _described(goal: object) -> str:
    if isinstance(goal, Tensor):
        return f"one goal of shape {tuple(goal.shape)}"
    if isinstance(goal, list | tuple):
        return f"{len(goal)} goals ({', '.join(sorted({type(g).__name__ for g in goal})) or 'none'})"
    return f"goals of type {type(goal).__name__}"
