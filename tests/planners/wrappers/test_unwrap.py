from __future__ import annotations

import torch

from planners import CEM, GoalL1, ProposalPlanner, RecedingHorizon, make_generators
from planners.wrappers.unwrap import find_attribute, fresh_copy
from tests.planners.worlds import PointWorld


def test_a_fresh_copy_shares_the_model_and_forgets_the_plan_which_the_original_keeps() -> None:
    world = PointWorld([-1.0] * 2, [1.0] * 2)
    cem = CEM(world, energy=GoalL1(), horizon=2, num_samples=16, num_iterations=2, num_elites=4)
    planner = RecedingHorizon(
        ProposalPlanner(cem, lambda context, goal: torch.zeros(1, 2, 2)), replan_every=2
    )
    goal, position = world.features(torch.full((1, 2), 0.7)), torch.zeros(1, 2)
    first = planner.plan(position, goal, generators=make_generators([0]))
    other = fresh_copy(planner)
    assert find_attribute(other, "model") is world
    again = other.plan(position, goal, generators=make_generators([0]))
    assert torch.equal(
        again.actions, first.actions
    )  # a search of its own, not the next action of the first plan
    rest = planner.plan(position, goal, generators=make_generators([1]))
    assert torch.equal(rest.actions[:, 0], first.actions[:, 1])
