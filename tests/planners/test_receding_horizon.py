from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Generator, Tensor

from planners import CEM, GoalL1, Plan, PlannerError, RecedingHorizon, make_generators
from tests.planners.worlds import PointWorld


class ScriptedPlanner:
    """Returns a new plan of numbered actions at each call, and keeps what it was asked."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.warm_starts: list[Tensor | None] = []

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
    ) -> Plan:
        self.warm_starts.append(warm_start)
        first = 10.0 * len(self.warm_starts)
        actions = (first + torch.arange(self.horizon)).reshape(1, -1, 1).expand(len(generators), -1, -1)
        return Plan(actions=actions, energy=torch.zeros(len(generators)), trace=())


def act(planner: RecedingHorizon, steps: int, batch: int = 1) -> list[float]:
    """Return the first problem's action of each step."""
    goal, generators = torch.zeros(batch, 1, 1), make_generators(list(range(batch)))
    return [planner.plan(None, goal, generators=generators).actions[0, 0, 0].item() for _ in range(steps)]


@pytest.mark.parametrize(
    ("replan_every", "expected"), [(1, [10, 20, 30, 40]), (2, [10, 11, 20, 21]), (3, [10, 11, 12, 20])]
)
def test_each_plan_serves_as_many_actions_as_asked(replan_every: int, expected: list[float]) -> None:
    assert act(RecedingHorizon(ScriptedPlanner(3), replan_every=replan_every), 4) == expected


@pytest.mark.parametrize(("replan_every", "expected"), [(1, [11.0, 12.0, 12.0]), (2, [12.0, 12.0, 12.0])])
def test_the_warm_start_is_what_is_left_of_the_plan(replan_every: int, expected: list[float]) -> None:
    scripted = ScriptedPlanner(3)
    act(RecedingHorizon(scripted, replan_every=replan_every), replan_every + 1)
    first, second = scripted.warm_starts
    assert first is None
    assert second is not None
    assert second.flatten().tolist() == expected


def test_without_warm_start_each_search_is_cold() -> None:
    scripted = ScriptedPlanner(3)
    act(RecedingHorizon(scripted, warm_start=False), 3)
    assert scripted.warm_starts == [None, None, None]


def test_reset_forgets_the_plan_and_the_latencies() -> None:
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
def test_point_masses_reach_their_goals(replan_every: int) -> None:
    world = PointWorld([-0.075] * 3, [0.075] * 3)
    generator = torch.Generator().manual_seed(1)
    position = torch.zeros(4, 3)
    target = 0.4 * torch.rand(4, 3, generator=generator) - 0.2
    cem = CEM(
        world,
        objective=GoalL1(1.0),
        horizon=2,
        num_samples=100,
        num_iterations=5,
        num_elites=10,
        momentum_std=0.1,
    )
    planner = RecedingHorizon(cem, replan_every=replan_every)
    generators = make_generators([0, 1, 2, 3])
    assert (position - target).norm(dim=1).min() > 0.05
    for _ in range(6):
        context = world.encode(torch.empty(0), position[:, None])
        plan = planner.plan(context, world.features(target), generators=generators)
        position = position + plan.actions[:, 0]
    assert (position - target).norm(dim=1).max() < 0.02
