"""CategoricalCEM on problems of discrete actions whose best sequence is known."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import CEM, CategoricalCEM, GoalL1, Plan, PlannerError, RecedingHorizon, make_generators
from tests.planners.worlds import MOVES, ActionCost, GridWorld, PointWorld


def plan(
    starts: Tensor, goals: Tensor, seeds: list[int], world: GridWorld | None = None, **options: Any
) -> Plan:
    world = world or GridWorld()
    sizes: dict[str, Any] = {"horizon": 4, "num_samples": 64, "num_iterations": 6}
    asked = {name: options.pop(name) for name in ("warm_start", "prefix") if name in options}
    planner = CategoricalCEM(world, energy=GoalL1(1.0), **{**sizes, **options})
    return planner.plan(starts, world.features(goals), generators=make_generators(seeds), **asked)


def choices(found: Plan) -> list[list[int]]:
    """Return the choices of a plan's problems; every action is one-hot."""
    actions = found.actions
    assert bool(((actions == 0) | (actions == 1)).all() and (actions.sum(dim=-1) == 1).all())
    chosen: list[list[int]] = actions.argmax(dim=-1).tolist()
    return chosen


def test_plans_have_the_lowest_energy_of_all_sequences() -> None:
    starts = torch.zeros(6, 2)
    goals = torch.tensor([[2.0, 1.0], [-1.0, 0.0], [0.0, 0.0], [3.0, 3.0], [0.5, -4.0], [-2.0, 2.0]])
    world, found = GridWorld(), plan(starts, goals, list(range(6)))
    every = torch.tensor(list(itertools.product(range(5), repeat=4)))
    actions = torch.nn.functional.one_hot(every, 5).float().expand(6, -1, -1, -1)
    energies = GoalL1(1.0)(world.rollout(starts, actions), world.features(goals), actions)
    torch.testing.assert_close(found.energy, energies.amin(dim=1))
    assert choices(found)[2] == [0, 0, 0, 0]


def test_a_table_of_costs_too_large_to_enumerate_is_solved_exactly() -> None:
    """The cost of a sequence is the sum of its entries, so the best choice at each step is the cheapest."""
    costs = torch.rand(8, 12, generator=torch.Generator().manual_seed(3))
    world = GridWorld(torch.zeros(12, 2))
    planner = CategoricalCEM(
        world,
        energy=ActionCost(lambda a: (a * costs).sum((-1, -2))),
        horizon=8,
        num_samples=200,
        num_iterations=20,
    )
    found = planner.plan(torch.zeros(1, 2), torch.zeros(1, 3, 2), generators=make_generators([0]))
    assert choices(found) == [costs.argmin(dim=1).tolist()]
    assert found.iterations[-1].spread < 0.3 < found.iterations[0].spread


def test_a_plan_is_the_same_alone_and_in_a_batch() -> None:
    starts = torch.zeros(5, 2)
    goals = torch.randn(5, 2, generator=torch.Generator().manual_seed(0)) * 2
    together = plan(starts, goals, list(range(5)))
    for b in range(5):
        alone = plan(starts[b : b + 1], goals[b : b + 1], [b])
        assert torch.equal(alone.actions[0], together.actions[b])
        assert torch.equal(alone.iterations[-1].samples[0], together.iterations[-1].samples[b])
    assert not torch.equal(
        plan(starts, goals, list(range(5, 10))).iterations[0].samples, together.iterations[0].samples
    )


def test_choices_that_are_left_out_or_never_recorded_are_not_taken() -> None:
    world = GridWorld()
    world.action_high[3] = 0.0
    found = plan(torch.zeros(1, 2), torch.tensor([[2.0, 2.0]]), [0], world, fixed={1: 0.0})
    samples = torch.cat([each.samples for each in found.iterations], dim=1)
    assert not bool(samples[..., [1, 3]].any())
    assert bool(samples[..., [0, 2, 4]].any(dim=1).all())
    with pytest.raises(PlannerError, match="No choice is left at a step"):
        plan(torch.zeros(1, 2), torch.zeros(1, 2), [0], fixed=dict.fromkeys(range(5), 0.0))


def test_executed_choices_and_warm_starts_are_part_of_the_search() -> None:
    goal = torch.tensor([[3.0, 0.0]])
    one_hot = torch.eye(5)
    found = plan(torch.zeros(1, 2), goal, [0], prefix=one_hot[2][None, None])
    assert choices(found) == [[2, 1, 1, 1]]
    best = one_hot[torch.tensor([[1, 1, 1, 0]])]
    found = plan(torch.zeros(1, 2), goal, [0], num_samples=8, num_iterations=1, warm_start=best * 0.9 + 0.02)
    assert torch.equal(found.iterations[0].samples[:, 0], best)
    assert found.energy == plan(torch.zeros(1, 2), goal, [0]).energy


def test_receding_horizon_reaches_a_goal_beyond_the_horizon() -> None:
    world, position = GridWorld(), torch.tensor([[-3.0, 2.0]])
    planner = RecedingHorizon(CategoricalCEM(world, energy=GoalL1(1.0), horizon=3))
    generators = make_generators([0])
    for _ in range(8):
        found = planner.plan(position, world.features(torch.tensor([[2.0, -1.0]])), generators=generators)
        position = position + found.actions[:, 0] @ MOVES
    assert position.tolist() == [[2.0, -1.0]]


def test_planners_of_numbers_and_of_choices_refuse_the_other_kind_of_model() -> None:
    with pytest.raises(PlannerError, match=r"CategoricalCEM plans choices.*'delta'.*planner=cem"):
        CategoricalCEM(PointWorld([-1.0], [1.0]), energy=GoalL1())
    with pytest.raises(PlannerError, match=r"CEM plans numbers.*'choice'.*planner=categorical_cem"):
        CEM(GridWorld(), energy=GoalL1())


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        (
            "num_elites",
            65,
            "num_elites is 65; allowed is a whole number of at least 1 and at most num_samples=64",
        ),
        ("momentum", 1.5, "momentum is 1.5"),
        ("exploration", -0.1, "exploration is -0.1"),
    ],
)
def test_options_are_checked(option: str, value: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        CategoricalCEM(GridWorld(), energy=GoalL1(), num_samples=64, **{option: value})
