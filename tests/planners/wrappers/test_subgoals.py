from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from planners import CEM, GoalL1, Plan, Planner, PlannerError, RecedingHorizon, make_generators
from planners.wrappers.subgoals import SubGoals
from tests.planners.worlds import PointWorld

WORLD = PointWorld([-0.1] * 2, [0.1] * 2)
CORNERS = [torch.tensor([[0.2, 0.0]]), torch.tensor([[0.2, 0.5]]), torch.tensor([[0.0, 0.5]])]
"""Two, five and two actions apart, at 0.1 an action."""

GOALS = [WORLD.features(corner) for corner in CORNERS]


class Watched:
    """A planner that records its arguments and passes them on."""

    def __init__(self, planner: Planner) -> None:
        self.planner = planner
        self.goals: list[Tensor] = []
        self.options: list[dict[str, Any]] = []
        self.resets: list[int] = []

    def plan(self, context: Any, goal: Tensor, *, generators: Sequence[Generator], **options: Any) -> Plan:
        self.goals.append(goal)
        self.options.append(options)
        return self.planner.plan(context, goal, generators=generators, **options)

    def reset(self) -> None:
        self.resets.append(len(self.goals))
        self.planner.reset()


def cem(horizon: int = 1, samples: int = 60) -> CEM:
    return CEM(
        WORLD,
        energy=GoalL1(1.0),
        horizon=horizon,
        num_samples=samples,
        num_iterations=6,
        num_elites=6,
        momentum_mean=0.15,
        momentum_std=0.1,
    )


def walk(planner: SubGoals, calls: int, goals: list[Tensor] | None = None) -> tuple[list[Tensor], list[int]]:
    """Return where a point is after each action from the origin, and which goal each plan was made for."""
    position, visited, pursued = torch.zeros(1, 2), [], []
    generators = make_generators([0])
    for _ in range(calls):
        plan = planner.plan(position, goals or GOALS, generators=generators)
        position = position + plan.actions[:, 0]
        visited.append(position)
        pursued.append(planner.current)
    return visited, pursued


def indices(goals: list[Tensor]) -> list[int]:
    """Return which of `GOALS` each goal is."""
    return [next(g for g, known in enumerate(GOALS) if known is goal) for goal in goals]


@pytest.mark.parametrize(
    "make", [cem, lambda: RecedingHorizon(cem(2)), lambda: RecedingHorizon(cem(3), replan_every=2)]
)
def test_a_point_visits_three_goals_in_turn(make: Callable[[], Planner]) -> None:
    planner = SubGoals(make(), steps=(3, 7, 3))
    visited, pursued = walk(planner, 13)
    assert pursued == [0] * 3 + [1] * 7 + [2] * 3
    for corner, end in zip(CORNERS, (3, 10, 13), strict=True):
        assert (visited[end - 1] - corner).norm() < 0.02
    assert planner.finished


def test_the_default_is_four_ten_and_four_actions() -> None:
    watched = Watched(cem(samples=8))
    walk(SubGoals(watched), 20)
    assert indices(watched.goals) == [0] * 4 + [1] * 10 + [2] * 6


def test_current_and_finished_report_the_progress() -> None:
    planner = SubGoals(cem(samples=8), steps=(1, 2))
    seen = [(planner.current, planner.finished)]
    for _ in range(4):
        walk(planner, 1, GOALS[:2])
        seen.append((planner.current, planner.finished))
    assert seen == [(0, False), (0, False), (1, False), (1, True), (1, True)]


def test_the_planner_is_reset_at_each_switch_and_only_there() -> None:
    watched = Watched(cem(samples=8))
    walk(SubGoals(watched, steps=(2, 3, 1)), 8)
    assert watched.resets == [2, 5]


def test_a_held_plan_is_not_carried_over_to_the_next_goal() -> None:
    # Replanning every 4 actions, the plan for the first goal would last until the fifth call.
    watched = Watched(cem(horizon=4))
    visited, _ = walk(SubGoals(RecedingHorizon(watched, replan_every=4), steps=(2, 7, 2)), 9)
    assert indices(watched.goals) == [0, 1, 1]
    assert watched.options[1]["warm_start"] is None
    assert (visited[1] - CORNERS[0]).norm() < 0.03
    assert (visited[8] - CORNERS[1]).norm() < 0.03


def test_reset_goes_back_to_the_first_goal() -> None:
    watched = Watched(cem(samples=8))
    planner = SubGoals(watched, steps=(1, 1, 1))
    walk(planner, 3)
    assert planner.finished
    planner.reset()
    assert (planner.current, planner.finished) == (0, False)
    assert watched.resets == [1, 2, 3]
    walk(planner, 2)
    assert indices(watched.goals) == [0, 1, 2, 0, 1]


def test_reaching_a_goal_early_switches_to_the_next() -> None:
    # The point is at the first corner after two actions, and at the second after five more.
    planner = SubGoals(cem(), steps=(10, 20, 10), reached_energy=0.01)
    visited, pursued = walk(planner, 9)
    assert pursued == [0] * 2 + [1] * 5 + [2] * 2
    for corner, end in zip(CORNERS, (2, 7, 9), strict=True):
        assert (visited[end - 1] - corner).norm() < 0.03
    assert planner.finished


def test_the_last_goal_once_reached_stays_finished() -> None:
    planner = SubGoals(cem(), steps=(5,), reached_energy=0.01)
    generators = make_generators([0])
    planner.plan(CORNERS[0], GOALS[:1], generators=generators)
    assert planner.finished
    assert planner.plan(CORNERS[1], GOALS[:1], generators=generators).energy > 0.1
    assert planner.finished


def test_a_goal_that_is_never_reached_is_left_after_its_steps() -> None:
    planner = SubGoals(cem(samples=8), steps=(1, 2, 1), reached_energy=-1.0)
    assert walk(planner, 4)[1] == [0, 1, 1, 2]


def test_a_failed_plan_does_not_count_as_a_step() -> None:
    planner = SubGoals(cem(samples=8), steps=(1, 2, 1))
    walk(planner, 1)
    with pytest.raises(PlannerError, match="All 8 samples"):
        planner.plan(torch.full((1, 2), math.nan), GOALS, generators=make_generators([0]))
    assert walk(planner, 3)[1] == [1, 1, 2]


def test_problems_of_a_batch_switch_together_and_equal_single_ones() -> None:
    starts = torch.tensor([[0.0, 0.0], [0.3, 0.1]])
    goals = [goal.expand(2, -1, -1) for goal in GOALS]
    together, alone = SubGoals(cem(), (1, 1, 1)), SubGoals(cem(), (1, 1, 1))
    both, second = make_generators([5, 6]), make_generators([6])
    for _ in range(3):
        plan = together.plan(starts, goals, generators=both)
        single = alone.plan(starts[1:], GOALS, generators=second)
        assert torch.equal(plan.actions[1:], single.actions)
        assert torch.equal(plan.energy[1:], single.energy)


def test_the_options_of_a_call_are_passed_on() -> None:
    watched = Watched(cem(horizon=2))
    warm_start, prefix = torch.zeros(1, 2, 2), torch.full((1, 1, 2), 0.05)
    plan = SubGoals(watched).plan(
        torch.zeros(1, 2),
        GOALS,
        generators=make_generators([0]),
        deadline_s=60.0,
        warm_start=warm_start,
        prefix=prefix,
    )
    assert watched.options == [{"deadline_s": 60.0, "warm_start": warm_start, "prefix": prefix}]
    assert torch.equal(plan.actions[:, :1], prefix)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ((), r"steps is \(\); allowed is a list of whole numbers"),
        (4, "steps is 4; allowed is a list"),
        ((4, 0), r"steps\[1\] is 0; allowed is a whole number of at least 1"),
        ((4, 2.5), r"steps\[1\] is 2\.5"),
    ],
)
def test_steps_that_are_not_allowed_are_refused(steps: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        SubGoals(cem(), steps)


def test_an_energy_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(PlannerError, match="reached_energy is nan; allowed is None or a finite number"):
        SubGoals(cem(), reached_energy=math.nan)


@pytest.mark.parametrize(
    ("goals", "message"),
    [
        (GOALS[:2], r"SubGoals got 2 goals \(Tensor\); allowed is a list of 3 goals .*steps=\(4, 10, 4\)"),
        (GOALS[0], r"SubGoals got one goal of shape \(1, 3, 2\); allowed is a list of 3"),
        ([*GOALS[:2], None], r"SubGoals got 3 goals \(NoneType, Tensor\)"),
        (
            [*GOALS[:2], torch.zeros(1, 4, 2)],
            r"shapes \[\(1, 3, 2\), \(1, 3, 2\), \(1, 4, 2\)\]; .*same for all",
        ),
        ([g[0] for g in GOALS], r"goals of shapes \[\(3, 2\).*allowed is \[B, N, D\]"),
    ],
)
def test_invalid_goals_are_refused(goals: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        SubGoals(cem()).plan(torch.zeros(1, 2), goals, generators=make_generators([0]))


def test_an_early_switch_of_several_problems_is_refused() -> None:
    planner = SubGoals(cem(), reached_energy=0.1)
    with pytest.raises(
        PlannerError, match=r"reached_energy=0\.1 and got 2 problems; .*one would depend on another"
    ):
        planner.plan(
            torch.zeros(2, 2), [g.expand(2, -1, -1) for g in GOALS], generators=make_generators([0, 1])
        )
