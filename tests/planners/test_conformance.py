"""What every planner keeps: one suite over all of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from planners import CEM, GoalL1, Plan, Planner, PlannerError, RecedingHorizon, make_generators
from planners.protocols import Objective, WorldModel
from tests.planners.worlds import ActionCost, PointWorld

LOW, HIGH = [-0.1, -0.2, 0.3, -0.05], [0.1, 0.1, 0.3, 0.15]
HORIZON = 3

Make = Callable[[WorldModel, Objective], Planner]


def make_cem(model: WorldModel, objective: Objective) -> Planner:
    return CEM(model, objective=objective, horizon=HORIZON, num_samples=40, num_iterations=4, num_elites=5)


def make_receding_horizon(model: WorldModel, objective: Objective) -> Planner:
    return RecedingHorizon(make_cem(model, objective))


@pytest.fixture(params=[make_cem, make_receding_horizon])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def problems(count: int) -> tuple[PointWorld, Tensor, Tensor]:
    """Return a world, contexts `[B, 4]` and goals `[B, N, 4]`, all different."""
    world = PointWorld(LOW, HIGH)
    generator = torch.Generator().manual_seed(7)
    starts = torch.rand(count, 4, generator=generator)
    goals = starts + 0.4 * torch.randn(count, 4, generator=generator)
    return world, starts, world.features(goals)


def solve(make: Make, count: int, seeds: list[int]) -> Plan:
    world, starts, goals = problems(count)
    return make(world, GoalL1()).plan(starts, goals, generators=make_generators(seeds))


def test_shapes_and_energy_of_the_returned_actions(make: Make) -> None:
    world, starts, goals = problems(2)
    plan = make(world, GoalL1()).plan(starts, goals, generators=make_generators([0, 1]))
    assert plan.actions.shape == (2, HORIZON, 4)
    assert [t.best_energy.shape for t in plan.trace] == [(2,)] * 4
    again = GoalL1()(world.rollout(starts, plan.actions[:, None]), goals, plan.actions[:, None])
    assert torch.equal(again[:, 0], plan.energy)


def test_actions_stay_in_the_box_when_the_goal_is_far_outside(make: Make) -> None:
    world, starts, _ = problems(3)
    far = world.features(starts + torch.tensor([100.0, -100.0, 100.0, 100.0]))
    plan = make(world, GoalL1()).plan(starts, far, generators=make_generators([0, 1, 2]))
    low, high = torch.tensor(LOW), torch.tensor(HIGH)
    assert bool((plan.actions >= low).all() and (plan.actions <= high).all())
    # Far away on each axis, the best action is a corner of the box.
    assert plan.actions[..., 0].mean() > 0.5 * high[0]
    assert plan.actions[..., 1].mean() < 0.5 * low[1]


def test_every_scored_action_stays_in_the_box(make: Make) -> None:
    world, starts, goals = problems(1)
    seen: list[Tensor] = []

    def cost(actions: Tensor) -> Tensor:
        seen.append(actions)
        return actions.square().sum((-1, -2))

    make(world, ActionCost(cost)).plan(starts, goals, generators=make_generators([0]))
    assert len(seen) == 5
    assert all(bool((a >= torch.tensor(LOW)).all() and (a <= torch.tensor(HIGH)).all()) for a in seen)


def test_a_frozen_axis_keeps_its_value_exactly(make: Make) -> None:
    assert torch.equal(solve(make, 2, [0, 1]).actions[..., 2], torch.full((2, HORIZON), 0.3))


def test_same_seed_same_plan_other_seed_other_plan(make: Make) -> None:
    first, same, other = (solve(make, 1, [seed]).actions for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_a_problem_alone_and_among_sixteen_is_bit_equal(make: Make) -> None:
    world, starts, goals = problems(16)
    seeds = list(range(100, 116))
    together = make(world, GoalL1()).plan(starts, goals, generators=make_generators(seeds))
    for b, seed in enumerate(seeds):
        alone = make(world, GoalL1()).plan(
            starts[b : b + 1], goals[b : b + 1], generators=make_generators([seed])
        )
        assert torch.equal(alone.actions[0], together.actions[b])
        assert torch.equal(alone.energy[0], together.energy[b])
        for mine, theirs in zip(alone.trace, together.trace, strict=True):
            assert torch.equal(mine.mean_energy[0], theirs.mean_energy[b])
            assert torch.equal(mine.spread[0], theirs.spread[b])


def test_nan_energies_never_win(make: Make) -> None:
    world, starts, goals = problems(1)

    def cost(actions: Tensor) -> Tensor:
        first = actions[..., 0, 0]
        return torch.where(first > 0.0, torch.nan, first.abs() + 1.0)

    plan = make(world, ActionCost(cost)).plan(starts, goals, generators=make_generators([0]))
    assert plan.actions[0, 0, 0] <= 0.0
    assert 1.0 <= plan.energy.item() < 1.05


def test_a_problem_with_nothing_but_nan_is_named(make: Make) -> None:
    world, starts, goals = problems(3)
    starts[1] = torch.nan
    with pytest.raises(
        PlannerError, match=r"All 40 samples of problem 1 \(of 3, counted from 0\) have a NaN"
    ):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0, 1, 2]))


def test_a_model_that_returns_fewer_steps_is_refused(make: Make) -> None:
    class Short(PointWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            return super().rollout(context, actions)[:, :, :-1]

    _, starts, goals = problems(1)
    with pytest.raises(PlannerError, match=r"shape \(1, 40, 2, 3, 4\) for actions of shape \(1, 40, 3, 4\)"):
        make(Short(LOW, HIGH), GoalL1()).plan(starts, goals, generators=make_generators([0]))


def test_an_objective_of_the_wrong_shape_is_refused(make: Make) -> None:
    world, starts, goals = problems(1)
    with pytest.raises(
        PlannerError, match=r"objective returned shape \(1, 40, 3\).*allowed is \[B, S\] = \[1, 40\]"
    ):
        make(world, ActionCost(lambda a: a.sum(-1))).plan(starts, goals, generators=make_generators([0]))


def test_the_number_of_generators_must_be_the_batch(make: Make) -> None:
    world, starts, goals = problems(2)
    with pytest.raises(PlannerError, match=r"goals of shape \(2, 3, 4\) and 1 generators"):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0]))


def test_two_problems_cannot_share_a_generator(make: Make) -> None:
    world, starts, goals = problems(2)
    with pytest.raises(PlannerError, match="the same object; each problem needs its own"):
        make(world, GoalL1()).plan(starts, goals, generators=make_generators([0]) * 2)


@pytest.mark.parametrize(("shape", "value"), [((1, HORIZON + 1, 4), 0.0), ((1, HORIZON, 4), torch.nan)])
def test_a_warm_start_that_does_not_fit_is_refused(make: Make, shape: tuple[int, ...], value: float) -> None:
    world, starts, goals = problems(1)
    with pytest.raises(PlannerError, match="warm_start has"):
        make(world, GoalL1()).plan(
            starts, goals, generators=make_generators([0]), warm_start=torch.full(shape, value)
        )


def test_planning_keeps_no_graph(make: Make) -> None:
    world, starts, goals = problems(1)
    world.weights.requires_grad_()
    plan = make(world, GoalL1()).plan(starts, goals.detach(), generators=make_generators([0]))
    assert not plan.actions.requires_grad
    assert not plan.energy.requires_grad
