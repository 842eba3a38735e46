"""Actions that are targets: plans start at the robot's state, and no step is larger than the model allows."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from planners import GoalL2, PlannerError, RecedingHorizon, Replicas, make_generators
from planners.protocols import action_type
from tests.planners.test_conformance import EVERY, Make

#: Joints in degrees, their range, and what they may move in a step; the last one is not limited.
LOW, HIGH, STEP = [-90.0, -90.0, 0.0], [90.0, 90.0, 100.0], [2.0, 5.0, torch.inf]
START = [[50.0, -40.0, 30.0], [-10.0, 89.0, 99.0]]
GOAL = [[80.0, -41.0, 90.0], [-10.0, -89.0, 0.0]]


class Joints:
    """An arm that reaches its targets; features are its joints, one token."""

    action_type = "absolute"

    def __init__(self, step: list[float] | None = None) -> None:
        self.action_low, self.action_high = torch.tensor(LOW), torch.tensor(HIGH)
        self.action_step = None if step is None else torch.tensor(step)

    def encode(self, frames: Tensor, states: Tensor | None) -> Tensor:
        assert states is not None
        return states[:, -1]

    def encode_goal(self, frames: Tensor) -> Tensor:
        raise NotImplementedError("goals are given as features")

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        return actions.unsqueeze(3)

    def hold_action(self, context: Tensor) -> Tensor | None:
        return context


@pytest.fixture(params=EVERY.values(), ids=list(EVERY))
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def steps_of(actions: Tensor, start: Tensor) -> Tensor:
    """Return how far each target of plans `[..., K, 3]` is from the one before, and the first from `start`."""
    before = torch.cat([start.unsqueeze(-2), actions[..., :-1, :]], dim=-2)
    return (actions - before).abs()


def test_no_target_jumps(make: Make) -> None:
    start, goal = torch.tensor(START), torch.tensor(GOAL).unsqueeze(1)
    plan = make(Joints(STEP), GoalL2()).plan(start, goal, generators=make_generators([0, 1]))
    allowed = torch.tensor(STEP) + 1e-4
    assert (steps_of(plan.actions, start) <= allowed).all()
    assert (plan.actions >= torch.tensor(LOW)).all()
    assert (plan.actions <= torch.tensor(HIGH)).all()
    for iteration in plan.iterations:
        each = start.unsqueeze(1).expand(-1, iteration.samples.shape[1], -1)
        assert (steps_of(iteration.samples, each) <= allowed).all()
    standing = ((start - goal[:, 0]) ** 2).mean(dim=1)
    assert (plan.energy < 0.9 * standing).all()


def test_a_search_moves_by_the_largest_step_if_the_goal_is_far() -> None:
    start, goal = torch.tensor(START[:1]), torch.tensor([[[80.0, 0.0, 30.0]]])
    planner = EVERY["cem"](Joints([2.0, 0.0, 0.0]), GoalL2())
    plan = planner.plan(start, goal, generators=make_generators([0]))
    assert plan.actions[0, -1].tolist() == pytest.approx([56.0, -40.0, 30.0], abs=0.3)


def test_without_a_step_limit_plans_start_at_the_robots_state() -> None:
    plan = EVERY["cem"](Joints(), GoalL2()).plan(
        torch.tensor(START), torch.tensor(START).unsqueeze(1), generators=make_generators([0, 1])
    )
    assert torch.equal(plan.actions, torch.tensor(START).unsqueeze(1).expand(-1, 3, -1))
    assert plan.energy.tolist() == [0.0, 0.0]


def test_the_plan_continues_from_its_prefix() -> None:
    start, prefix = torch.tensor(START[:1]), torch.tensor([[[52.0, -45.0, 70.0]]])
    plan = EVERY["cem"](Joints(STEP), GoalL2()).plan(
        start, torch.tensor(GOAL[:1]).unsqueeze(1), generators=make_generators([0]), prefix=prefix
    )
    assert torch.equal(plan.actions[:, :1], prefix)
    assert (steps_of(plan.actions, start) <= torch.tensor([2.0, 5.0, 100.0]) + 1e-4).all()
    assert plan.actions[0, -1, 0] > 54.0


def test_a_robot_outside_of_its_bounds_is_moved_back_step_by_step() -> None:
    start = torch.tensor([[95.0, 0.0, 50.0]])
    plan = EVERY["cem"](Joints(STEP), GoalL2()).plan(
        start, torch.tensor([[[0.0, 0.0, 50.0]]]), generators=make_generators([0])
    )
    first = plan.actions[0, :, 0]
    assert (steps_of(plan.actions, start)[..., 0] <= 2.0 + 1e-4).all()
    assert ((first <= 95.0) & (first >= 89.0 - 1e-4)).all()


def test_a_held_target_axis_keeps_the_current_value(make: Make) -> None:
    planner = make(Joints(STEP), GoalL2(), fixed={0: "hold"})
    plan = planner.plan(
        torch.tensor(START), torch.tensor(GOAL).unsqueeze(1), generators=make_generators([0, 1])
    )
    assert torch.equal(plan.actions[:, :, 0], torch.tensor([[50.0] * 3, [-10.0] * 3]))


def test_a_held_delta_axis_is_zero() -> None:
    world = Joints()
    world.action_type = "delta"
    plan = EVERY["cem"](world, GoalL2(), fixed={0: "hold", 2: "hold"}).plan(
        torch.tensor(START), torch.tensor(GOAL).unsqueeze(1), generators=make_generators([0, 1])
    )
    assert not plan.actions[..., [0, 2]].any()


def test_replicas_have_the_hold_action_of_their_copies() -> None:
    start, goal = torch.tensor(START[:1]), torch.tensor(GOAL[:1]).unsqueeze(1)
    with Replicas([Joints(STEP), Joints(STEP)]) as model:
        assert action_type(model) == "absolute"
        context = model.encode(torch.empty(0), start[:, None])
        plan = EVERY["cem"](model, GoalL2()).plan(context, goal, generators=make_generators([0]))
    assert (steps_of(plan.actions, start) <= torch.tensor(STEP) + 1e-4).all()


def test_plans_of_wrappers_do_not_jump_either() -> None:
    state, goal = torch.tensor(START[:1]), torch.tensor(GOAL[:1]).unsqueeze(1)
    planner = RecedingHorizon(EVERY["cem"](Joints(STEP), GoalL2()), replan_every=2)
    generators = make_generators([0])
    for _ in range(5):
        action = planner.plan(state, goal, generators=generators).actions[:, 0]
        assert ((action - state).abs() <= torch.tensor(STEP) + 1e-4).all()
        state = action
    assert state[0, 0] > 58.0  # towards 80 at no more than 2 a step


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("action_type", "absolut", r"action_type is 'absolut'; allowed are 'delta'"),
        ("action_step", torch.tensor([1.0, -1.0, 1.0]), r"action_step is \[1.0, -1.0, 1.0\]"),
        ("action_step", torch.tensor([1.0, torch.nan, 1.0]), r"action_step is \[1.0, nan, 1.0\]"),
        ("hold_action", lambda context: torch.zeros(3), r"hold_action has shape \(3,\).*\(1, 3\)"),
        ("hold_action", lambda context: context * torch.nan, r"hold_action .*is not finite"),
    ],
)
def test_wrong_declarations_of_a_model_are_refused(name: str, value: Any, message: str) -> None:
    world = Joints(STEP)
    setattr(world, name, value)
    with pytest.raises(PlannerError, match=message):
        EVERY["cem"](world, GoalL2()).plan(
            torch.tensor(START[:1]), torch.tensor(GOAL[:1]).unsqueeze(1), generators=make_generators([0])
        )


def test_an_axis_of_unknown_state_cannot_be_held() -> None:
    world = Joints(STEP)
    world.hold_action = lambda context: None  # type: ignore[method-assign]
    with pytest.raises(PlannerError, match=r"fixed holds axis 1, .*has no hold_action"):
        EVERY["cem"](world, GoalL2(), fixed={1: "hold"}).plan(
            torch.tensor(START[:1]), torch.tensor(GOAL[:1]).unsqueeze(1), generators=make_generators([0])
        )


def test_a_joint_that_never_moved_in_training_is_held(make: Make) -> None:
    world = Joints([2.0, 0.0, torch.inf])
    world.action_low[1] = world.action_high[1] = 30.0  # equal bounds are not among the values checked below
    start = torch.tensor([[50.0, 45.0, 30.0]])
    plan = make(world, GoalL2()).plan(
        start, torch.tensor([[[80.0, 0.0, 90.0]]]), generators=make_generators([0])
    )
    assert torch.equal(plan.actions[0, :, 1], torch.full((3,), 45.0))


def test_an_axis_that_is_fixed_at_a_value_moves_there() -> None:
    planner = EVERY["cem"](Joints(STEP), GoalL2(), fixed={0: [None, 10.0, None]})
    plan = planner.plan(
        torch.tensor(START[:1]), torch.tensor(GOAL[:1]).unsqueeze(1), generators=make_generators([0])
    )
    assert plan.actions[0, 1, 0] == 10.0
    assert abs(plan.actions[0, 0, 0] - 50.0) <= 2.0 + 1e-4
