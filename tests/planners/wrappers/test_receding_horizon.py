from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from planners import CEM, ICEM, GoalL1, Plan, Planner, PlannerError, RecedingHorizon, make_generators, shift
from planners.wrappers.receding_horizon import Latency
from tests.planners.worlds import PointWorld


class ScriptedPlanner:
    """Returns a new plan of numbered actions at each call, and records its arguments.

    It keeps `kept` further sequences, whose numbers are larger by 100, 200, and so on.
    """

    def __init__(self, horizon: int, kept: int = 0) -> None:
        self.horizon, self.kept = horizon, kept
        self.warm_starts: list[Tensor | None] = []
        self.prefixes: list[Tensor | None] = []

    def reset(self) -> None:
        self.warm_starts = []

    def plan(
        self,
        context: object,
        goal: Tensor,
        *,
        generators: Sequence[Generator],
        deadline_s: float | None = None,
        warm_start: Tensor | None = None,
        prefix: Tensor | None = None,
    ) -> Plan:
        self.warm_starts.append(warm_start)
        self.prefixes.append(prefix)
        first = 10.0 * len(self.warm_starts)
        actions = (first + torch.arange(self.horizon)).reshape(1, -1, 1).expand(len(generators), -1, -1)
        kept = actions[:, None] + 100.0 * torch.arange(1, self.kept + 1).reshape(1, -1, 1, 1)
        return Plan(actions, torch.zeros(len(generators)), (), kept if self.kept else None)


def act(planner: RecedingHorizon, steps: int, batch: int = 1) -> list[float]:
    """Return the first problem's action of each step."""
    goal, generators = torch.zeros(batch, 1, 1), make_generators(list(range(batch)))
    return [planner.plan(None, goal, generators=generators).actions[0, 0, 0].item() for _ in range(steps)]


@pytest.mark.parametrize(
    ("replan_every", "expected"), [(1, [10, 20, 30, 40]), (2, [10, 11, 20, 21]), (3, [10, 11, 12, 20])]
)
def test_each_plan_is_used_for_replan_every_actions(replan_every: int, expected: list[float]) -> None:
    assert act(RecedingHorizon(ScriptedPlanner(3), replan_every=replan_every), 4) == expected


@pytest.mark.parametrize(("replan_every", "expected"), [(1, [11.0, 12.0, 12.0]), (2, [12.0, 12.0, 12.0])])
def test_the_warm_start_is_the_rest_of_the_plan(replan_every: int, expected: list[float]) -> None:
    scripted = ScriptedPlanner(3)
    act(RecedingHorizon(scripted, replan_every=replan_every), replan_every + 1)
    first, second = scripted.warm_starts
    assert first is None
    assert second is not None
    assert second.flatten().tolist() == expected


@pytest.mark.parametrize(
    ("replan_every", "expected"),
    [
        (1, [[11.0, 12.0, 12.0], [111.0, 112.0, 112.0], [211.0, 212.0, 212.0]]),
        (2, [[12.0, 12.0, 12.0], [112.0, 112.0, 112.0], [212.0, 212.0, 212.0]]),
    ],
)
def test_stored_warm_starts_are_shifted_like_the_plan_and_follow_it(
    replan_every: int, expected: list[list[float]]
) -> None:
    scripted = ScriptedPlanner(3, kept=2)
    act(RecedingHorizon(scripted, replan_every=replan_every), replan_every + 1, batch=2)
    warm_start = scripted.warm_starts[1]
    assert warm_start is not None
    assert warm_start.shape == (2, 3, 3, 1)
    assert warm_start[..., 0].tolist() == [expected, expected]


def test_a_real_search_tries_the_last_plan_and_stored_warm_starts_first() -> None:
    world = PointWorld([-1.0] * 2, [1.0] * 2)
    planner = RecedingHorizon(ICEM(world, energy=GoalL1(), horizon=3, num_samples=20, num_elites=10))
    goal, generators = world.features(torch.full((1, 2), 0.7)), make_generators([0])
    first = planner.plan(torch.zeros(1, 2), goal, generators=generators)
    second = planner.plan(torch.zeros(1, 2), goal, generators=generators)
    assert first.warm_starts is not None
    assert first.warm_starts.shape == (1, 3, 3, 2)
    tried = second.iterations[0].samples
    assert torch.equal(tried[:, 0], shift(first.actions))
    assert torch.equal(tried[:, 1:4], shift(first.warm_starts))


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_shifting_several_steps_is_shifting_one_several_times(steps: int) -> None:
    actions = torch.arange(24.0).reshape(2, 4, 3)
    expected = actions
    for _ in range(steps):
        expected = torch.cat([expected[:, 1:], expected[:, -1:]], dim=1)
    assert torch.equal(shift(actions, steps), expected)
    assert torch.equal(shift(actions[:, None], steps)[:, 0], expected)


def test_a_prefix_is_passed_on_and_plans_without_it_are_refused() -> None:
    scripted = ScriptedPlanner(3)
    planner = RecedingHorizon(scripted, replan_every=3)
    goal, generators = torch.zeros(1, 1, 1), make_generators([0])

    def step(prefix: list[float]) -> float:
        under_way = torch.tensor(prefix).reshape(1, -1, 1)
        plan = planner.plan(None, goal, generators=generators, prefix=under_way)
        return plan.actions[0, 0, 0].item()

    assert step([0.0, 0.5]) == 10
    assert step([11.0, 12.0]) == 11  # the current plan starts with this prefix
    assert step([11.0, 12.0]) == 20  # the current plan starts with 12
    asked = [prefix.flatten().tolist() for prefix in scripted.prefixes if prefix is not None]
    assert asked == [[0.0, 0.5], [11.0, 12.0]]
    assert step([21.0]) == 21


def test_a_prefix_of_a_wrong_shape_is_refused_between_replans() -> None:
    world = PointWorld([-1.0] * 2, [1.0] * 2)
    cem = CEM(world, energy=GoalL1(), horizon=3, num_samples=8, num_iterations=1, num_elites=2)
    planner = RecedingHorizon(cem, replan_every=3)
    goal, generators = world.features(torch.zeros(1, 2)), make_generators([0])
    planner.plan(torch.zeros(1, 2), goal, generators=generators)
    with pytest.raises(PlannerError, match=r"prefix has shape \(1, 3\); allowed is \[B, J, A\]"):
        planner.plan(torch.zeros(1, 2), goal, generators=generators, prefix=torch.zeros(1, 3))


def test_latency_counts_only_calls_that_searched() -> None:
    planner = RecedingHorizon(ScriptedPlanner(3), replan_every=3)
    assert planner.latency.searches == 0
    assert math.isnan(planner.latency.p99_s)
    act(planner, 5)
    planner.latencies_s[:] = [3.0, 10.0, 10.0, 1.0, 10.0]
    assert planner.latency == Latency(calls=5, searches=2, p50_s=2.0, p95_s=2.9, p99_s=2.98, max_s=3.0)


def test_percentiles_of_latencies() -> None:
    latency = Latency.of([float(s) for s in reversed(range(101))], calls=200)
    assert latency == Latency(calls=200, searches=101, p50_s=50.0, p95_s=95.0, p99_s=99.0, max_s=100.0)


def test_without_warm_start_each_search_is_cold() -> None:
    scripted = ScriptedPlanner(3)
    act(RecedingHorizon(scripted, warm_start=False), 3)
    assert scripted.warm_starts == [None, None, None]


def test_reset_discards_the_plan_and_the_latencies() -> None:
    scripted = ScriptedPlanner(3)
    planner = RecedingHorizon(scripted, replan_every=3)
    act(planner, 2)
    assert len(planner.latencies_s) == 2
    assert min(planner.latencies_s) > 0
    planner.reset()
    assert planner.latencies_s == []
    act(planner, 1)
    assert scripted.warm_starts == [None]


def test_a_batch_that_changes_without_reset_is_refused() -> None:
    planner = RecedingHorizon(ScriptedPlanner(3))
    act(planner, 1)
    with pytest.raises(PlannerError, match=r"got 2 problems while a plan for 1 is held.*Call reset\(\)"):
        act(planner, 1, batch=2)


def test_replanning_later_than_the_plan_lasts_is_refused() -> None:
    with pytest.raises(PlannerError, match="replan_every is 4, but the planner's plans have 3 actions"):
        act(RecedingHorizon(ScriptedPlanner(3), replan_every=4), 1)
    with pytest.raises(PlannerError, match="replan_every is 0; allowed is a whole number"):
        RecedingHorizon(ScriptedPlanner(3), replan_every=0)


@pytest.mark.parametrize("replan_every", [1, 2])
@pytest.mark.parametrize("improved", [False, True])
def test_point_masses_reach_their_goals(replan_every: int, improved: bool) -> None:
    world = PointWorld([-0.075] * 3, [0.075] * 3)
    generator = torch.Generator().manual_seed(1)
    position = torch.zeros(4, 3)
    target = 0.4 * torch.rand(4, 3, generator=generator) - 0.2
    search: Planner = CEM(
        world,
        energy=GoalL1(1.0),
        horizon=2,
        num_samples=100,
        num_iterations=5,
        num_elites=10,
        momentum_mean=0.15,
        momentum_std=0.1,
    )
    if improved:
        search = ICEM(world, energy=GoalL1(1.0), horizon=2, num_samples=60, num_iterations=4)
    planner = RecedingHorizon(search, replan_every=replan_every)
    generators = make_generators([0, 1, 2, 3])
    assert (position - target).norm(dim=1).min() > 0.05
    for _ in range(6):
        context = world.encode(torch.empty(0), position[:, None])
        plan = planner.plan(context, world.features(target), generators=generators)
        position = position + plan.actions[:, 0]
    assert (position - target).norm(dim=1).max() < 0.02


def test_a_part_of_the_batch_continues_with_its_own_plans() -> None:
    class Distinct(ScriptedPlanner):
        """Adds the number of the problem to its actions."""

        def plan(self, context: object, goal: Tensor, **given: Any) -> Plan:
            plan = super().plan(context, goal, **given)
            own = 1000.0 * goal[:, 0, 0]
            kept = plan.warm_starts
            return replace(
                plan,
                actions=plan.actions + own.reshape(-1, 1, 1),
                energy=plan.energy + own,
                warm_starts=None if kept is None else kept + own.reshape(-1, 1, 1, 1),
            )

    goal = torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(-1, 1, 1)
    scripted = Distinct(4, kept=1)
    planner = RecedingHorizon(scripted, replan_every=2)
    generators = make_generators([1, 2, 3, 4])
    planner.plan(None, goal, generators=generators)
    planner.select([3, 1])
    left: dict[str, Any] = {"goal": goal[[3, 1]], "generators": [generators[3], generators[1]]}
    plan = planner.plan(None, **left)
    assert plan.actions[:, 0, 0].tolist() == [4011, 2011]
    assert plan.energy.tolist() == [4000, 2000]
    planner.plan(None, **left)
    start = scripted.warm_starts[-1]
    assert start is not None
    assert start[:, :, 0, 0].tolist() == [[4012, 4112], [2012, 2112]]
    planner.reset()
    planner.select([0])  # nothing is held after a reset
