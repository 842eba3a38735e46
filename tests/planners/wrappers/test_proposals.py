"""Searches that start from a proposal."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import (
    CEM,
    ICEM,
    GoalL1,
    Plan,
    PlannerError,
    ProposalPlanner,
    RecedingHorizon,
    make_generators,
    shift,
)
from planners.wrappers.proposals import LEAST_DEADLINE_S
from tests.planners.worlds import PointWorld

WORLD = PointWorld(low=[-1.0, -1.0], high=[1.0, 1.0])
START, GOAL = torch.tensor([[0.0, 0.0], [0.5, -0.5]]), torch.tensor([[0.9, -0.8], [-0.4, 0.3]])
FEATURES = WORLD.features(GOAL)


def search(samples: int = 4, horizon: int = 1) -> CEM:
    return CEM(WORLD, energy=GoalL1(), horizon=horizon, num_samples=samples, num_iterations=1, num_elites=2)


def exact(context: Tensor, goal: Tensor) -> Tensor:
    """The proposal of an exact inverse model."""
    return (goal[:, 0] / WORLD.weights[0] - context)[:, None]


def wrong(context: Tensor, goal: Tensor) -> Tensor:
    """The opposite."""
    return -exact(context, goal)


def distances(planner: ProposalPlanner | CEM | RecedingHorizon, warm_start: Tensor | None = None) -> Tensor:
    plan = planner.plan(START, FEATURES, generators=make_generators([0, 1]), warm_start=warm_start)
    return (START + plan.actions[:, 0] - GOAL).norm(dim=-1)


def test_a_search_from_a_correct_proposal_returns_it() -> None:
    """Without a proposal few samples find little."""
    alone = distances(search())
    assert alone.min() > 0.1
    assert distances(ProposalPlanner(search(), exact)).max() < 1e-6
    assert distances(RecedingHorizon(ProposalPlanner(search(), exact))).max() < 1e-6


def test_a_wrong_proposal_next_to_a_good_warm_start_does_no_harm() -> None:
    assert distances(ProposalPlanner(search(), wrong)).min() > 0.1
    assert distances(ProposalPlanner(search(), wrong), exact(START, FEATURES)).max() < 1e-6
    assert distances(ProposalPlanner(search(), wrong), exact(START, FEATURES)[:, None]).max() < 1e-6


def test_a_wrong_warm_start_next_to_a_good_proposal_does_no_harm() -> None:
    assert distances(search(), wrong(START, FEATURES)).min() > 0.1
    assert distances(ProposalPlanner(search(), exact), wrong(START, FEATURES)).max() < 1e-6


def test_warm_starts_are_the_proposal_then_the_last_plan_then_stored_ones() -> None:
    proposed = torch.linspace(-1, 1, 12).reshape(2, 3, 2)
    icem = ICEM(WORLD, energy=GoalL1(), horizon=3, num_samples=20, num_elites=10)
    planner = RecedingHorizon(ProposalPlanner(icem, lambda context, goal: proposed))
    generators = make_generators([0, 1])
    first, second = (planner.plan(START, FEATURES, generators=generators) for _ in range(2))
    assert first.warm_starts is not None
    expected = torch.stack([proposed, shift(first.actions), *shift(first.warm_starts).unbind(1)], dim=1)
    assert torch.equal(second.iterations[0].samples[:, : expected.shape[1]], expected)


def test_inside_receding_horizon_proposals_are_made_only_for_searches() -> None:
    asked: list[Tensor] = []

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        asked.append(context)
        return exact(context, goal).expand(-1, 2, -1)

    planner = RecedingHorizon(ProposalPlanner(search(horizon=2), propose), replan_every=2)
    generators = make_generators([0, 1])
    for position in (START, START + 0.1, START + 0.2):
        planner.plan(position, FEATURES, generators=generators)
    assert [position.tolist() for position in asked] == [START.tolist(), (START + 0.2).tolist()]


def test_around_receding_horizon_the_proposal_replaces_the_last_plan_until_reset() -> None:
    seen: list[Tensor] = []

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        seen.append(context)
        return exact(context, goal)

    planner = ProposalPlanner(RecedingHorizon(search()), propose)
    for position in (START, START / 2):
        plan = planner.plan(position, FEATURES, generators=make_generators([0, 1]))
        assert torch.equal(plan.iterations[0].samples[:, 0], exact(position, FEATURES))
        assert (position + plan.actions[:, 0] - GOAL).norm(dim=-1).max() < 1e-6
    assert [torch.equal(a, b) for a, b in zip(seen, (START, START / 2), strict=True)] == [True, True]
    planner.reset()
    planner.plan(START[:1], FEATURES[:1], generators=make_generators([0]))


def test_the_prefix_replaces_the_first_proposed_actions() -> None:
    proposed = torch.linspace(-1, 1, 12).reshape(2, 3, 2)
    prefix = torch.tensor([[[0.25, 0.5]], [[-0.5, 0.75]]])
    planner = ProposalPlanner(search(horizon=3), lambda context, goal: proposed)
    plan = planner.plan(START, FEATURES, generators=make_generators([0, 1]), prefix=prefix)
    expected = torch.cat([prefix, proposed[:, 1:]], dim=1)
    assert torch.equal(plan.iterations[0].samples[:, 0], expected)
    assert torch.equal(plan.actions[:, :1], prefix)


@pytest.mark.parametrize("shape", [(2, 2, 2), (2, 4, 1, 2, 2), (1, 1, 2), (2, 1)])
def test_a_warm_start_of_another_shape_than_the_proposal_is_refused(shape: tuple[int, ...]) -> None:
    message = r"propose returned shape \(2, 1, 2\) and the warm start has .*allowed is \[B, K, A\]"
    with pytest.raises(PlannerError, match=message):
        distances(ProposalPlanner(search(), exact), torch.zeros(shape))


@pytest.mark.parametrize("warm_start", [None, torch.zeros(2, 1, 2)])
@pytest.mark.parametrize(
    ("proposal", "message"),
    [
        (torch.zeros(2, 2), r"propose returned shape \(2, 2\); allowed is \[B, K, A\] with B=2, K=1, A=2"),
        (torch.zeros(()), r"propose returned shape \(\)"),
        (torch.zeros(2, 3, 2), r"propose returned shape \(2, 3, 2\).* the planner's horizon"),
        (torch.zeros(1, 1, 2), r"propose returned shape \(1, 1, 2\)"),
        (torch.zeros(2, 1, 3), r"propose returned shape \(2, 1, 3\)"),
        (torch.full((2, 1, 2), torch.nan), "propose returned NaN or infinite entries"),
        ([[[0.0, 0.0]]] * 2, "What propose returned is a list; allowed is a tensor"),
    ],
)
def test_an_invalid_proposal_is_refused_and_named_as_such(
    proposal: Any, message: str, warm_start: Tensor | None
) -> None:
    for planner in (search(), RecedingHorizon(search())):
        with pytest.raises(PlannerError, match=message):
            distances(ProposalPlanner(planner, lambda context, goal: proposal), warm_start)


def test_a_warm_start_that_is_not_a_tensor_is_refused() -> None:
    for warm_start, message in (([[[0.0]]], "warm_start is a list"), (torch.zeros(()), "the warm start has")):
        with pytest.raises(PlannerError, match=message):
            distances(ProposalPlanner(search(), exact), warm_start)  # type: ignore[arg-type]


@dataclass
class RecordingPlanner:
    """Records the deadlines that its planner gets."""

    planner: CEM
    deadlines_s: list[float | None] = field(default_factory=list)

    def plan(self, *args: Any, deadline_s: float | None = None, **rest: Any) -> Plan:
        self.deadlines_s.append(deadline_s)
        return self.planner.plan(*args, deadline_s=deadline_s, **rest)

    def reset(self) -> None:
        self.planner.reset()


def test_the_time_of_the_proposal_is_part_of_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [100.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        now_s[0] += 0.25
        return exact(context, goal)

    recording = RecordingPlanner(search())
    for deadline_s in (1.0, 0.2, None):
        planner = ProposalPlanner(recording, propose)
        planner.plan(START, FEATURES, generators=make_generators([0, 1]), deadline_s=deadline_s)
    assert recording.deadlines_s == [0.75, LEAST_DEADLINE_S, None]


@pytest.mark.parametrize("deadline_s", [0.0, -1.0, "1"])
def test_an_invalid_deadline_is_refused(deadline_s: Any) -> None:
    with pytest.raises(PlannerError, match=f"deadline_s is {deadline_s!r}; allowed is None or a time"):
        ProposalPlanner(search(), exact).plan(
            START, FEATURES, generators=make_generators([0, 1]), deadline_s=deadline_s
        )
