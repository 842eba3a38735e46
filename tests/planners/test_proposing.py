"""Searches that start from a proposal."""

from __future__ import annotations

import torch
from torch import Tensor

from planners import CEM, GoalL1, Proposing, RecedingHorizon, make_generators
from tests.planners.worlds import PointWorld

WORLD = PointWorld(low=[-1.0, -1.0], high=[1.0, 1.0])
START, GOAL = torch.tensor([[0.0, 0.0], [0.5, -0.5]]), torch.tensor([[0.9, -0.8], [-0.4, 0.3]])


def search(samples: int = 4) -> CEM:
    return CEM(WORLD, objective=GoalL1(), horizon=1, num_samples=samples, num_iterations=1, num_elites=2)


def exact(context: Tensor, goal: Tensor) -> Tensor:
    """What an inverse model that knows the world would say."""
    return (goal[:, 0] / WORLD.weights[0] - context)[:, None]


def distances(planner: Proposing | CEM, warm_start: Tensor | None = None) -> Tensor:
    goal = WORLD.features(GOAL)
    plan = planner.plan(START, goal, generators=make_generators([0, 1]), warm_start=warm_start)
    return (START + plan.actions[:, 0] - GOAL).norm(dim=-1)


def test_a_search_from_a_right_proposal_ends_there() -> None:
    """Few samples find little by themselves."""
    alone, proposed = distances(search()), distances(Proposing(search(), exact))
    assert (proposed < 0.5 * alone).all(), (alone, proposed)


def test_what_is_given_takes_the_proposals_place() -> None:
    wrong = torch.ones(2, 1, 2)
    assert torch.equal(distances(Proposing(search(), exact), wrong), distances(search(), wrong))


def test_it_goes_before_the_last_plan_and_forgets_with_the_planner() -> None:
    seen: list[Tensor] = []

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        seen.append(context)
        return exact(context, goal)

    planner = Proposing(RecedingHorizon(search()), propose)
    for place in (START, GOAL):
        planner.plan(place, WORLD.features(GOAL), generators=make_generators([0, 1]))
    assert [torch.equal(a, b) for a, b in zip(seen, (START, GOAL), strict=True)] == [True, True]
    planner.reset()
    planner.plan(START[:1], WORLD.features(GOAL[:1]), generators=make_generators([0]))
