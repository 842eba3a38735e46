"""Faulty world models, energies and callers: the plan is unaffected, or an error names the fault."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import (
    CEM,
    ActionPenalty,
    BackgroundPlanner,
    GoalL1,
    Plan,
    PlannerError,
    ProposalPlanner,
    RecedingHorizon,
    Replicas,
    StateGoal,
    SubGoals,
    make_generators,
)
from tests.planners.test_conformance import EVERY, HIGH, LOW, SAMPLING, Make, problems, sequences, within
from tests.planners.worlds import ActionCost, PointWorld

BY_ENERGY: dict[str, Make] = {
    "MPPI(energy)": lambda *args, **options: EVERY["mppi"](*args, temperature_of="energy", **options)
}


@pytest.fixture(params=[*EVERY.values(), *BY_ENERGY.values()], ids=[*EVERY, *BY_ENERGY])
def make(request: pytest.FixtureRequest) -> Make:
    return request.param


def plan(make: Make, world: Any, energy: Any, count: int = 2) -> Plan:
    _, starts, goals = problems(count)
    return make(world, energy).plan(starts, goals, generators=make_generators(list(range(count))))


# Modifying arguments.


class Writing(PointWorld):
    """Halves the given actions in place after using them, like code that normalises in place."""

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        predicted = super().rollout(context, actions)
        with torch.no_grad():
            actions.mul_(0.5)
        return predicted


class WritingEnergy:
    """The distance to a goal; sets the actions to zero afterwards."""

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        energy = GoalL1(1.0)(predicted, goal, actions) + 0.1 * ActionPenalty()(predicted, goal, actions)
        with torch.no_grad():
            actions.zero_()
        return energy


def equal(first: Plan, second: Plan) -> bool:
    tried = zip(sequences(first), sequences(second), strict=True)
    return torch.equal(first.energy, second.energy) and all(torch.equal(a, b) for a, b in tried)


def test_a_model_that_modifies_the_actions_changes_no_plan(make: Make) -> None:
    energy = GoalL1(1.0) + 0.1 * ActionPenalty()
    expected = plan(make, PointWorld(LOW, HIGH), energy)
    assert equal(plan(make, Writing(LOW, HIGH), energy), expected)
    _, starts, goals = problems(2)
    shared = make(Replicas([Writing(LOW, HIGH), Writing(LOW, HIGH)]), energy)
    assert equal(shared.plan([starts, starts], goals, generators=make_generators([0, 1])), expected)


@pytest.mark.parametrize("make", SAMPLING.values(), ids=list(SAMPLING))
def test_an_energy_that_modifies_the_actions_changes_no_plan(make: Make) -> None:
    world = PointWorld(LOW, HIGH)
    assert equal(plan(make, world, WritingEnergy()), plan(make, world, GoalL1(1.0) + 0.1 * ActionPenalty()))


def test_a_gradient_through_overwritten_tensors_is_refused() -> None:
    with pytest.raises(PlannerError, match="do not write into what they were given. Choose another planner"):
        plan(EVERY["gradient"], PointWorld(LOW, HIGH), WritingEnergy())


def test_a_term_that_modifies_the_actions_does_not_affect_the_others() -> None:
    class Zeroing(WritingEnergy):
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            return 0.0 * super().__call__(predicted, goal, actions)

    actions = torch.ones(1, 2, 3, 4)
    predicted, goal = torch.zeros(1, 2, 3, 3, 4), torch.zeros(1, 3, 4)
    alone = ActionPenalty()(predicted, goal, actions)
    summed = (0.0 * GoalL1() + Zeroing() + ActionPenalty())(predicted, goal, actions)
    assert torch.equal(summed, alone)
    assert bool((actions == 1).all())


def test_predictions_that_alias_the_actions_are_scored_correctly(make: Make) -> None:
    """The predictions are a view of the actions, and the energy modifies the actions."""

    class Echo(PointWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
            return actions.unsqueeze(3)

    class Squaring:
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            energy = (predicted[:, :, :, 0] - actions).abs().sum((-1, -2)) + actions.square().sum((-1, -2))
            with torch.no_grad():
                predicted.fill_(7.0)
            return energy

    found = plan(make, Echo(LOW, HIGH), Squaring())
    torch.testing.assert_close(found.energy, found.actions.square().sum((-1, -2)))
    assert within(found.actions)


def test_an_energy_that_modifies_the_goal_is_reported(make: Make) -> None:
    class Spoiling:
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            energy = GoalL1()(predicted, goal, actions)
            goal.add_(1.0)
            return energy

    with pytest.raises(PlannerError, match=r"energy wrote into the goal .*Work on a copy \(.clone\(\)\)"):
        plan(make, PointWorld(LOW, HIGH), Spoiling())


def test_a_term_that_modifies_the_predictions_is_reported() -> None:
    class Spoiling:
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            return predicted.abs_().mean((2, 3, 4))

    with pytest.raises(PlannerError, match="Spoiling wrote into the predictions that it was given"):
        plan(EVERY["cem"], PointWorld(LOW, HIGH), Spoiling() + GoalL1())


def test_modifying_a_plan_does_not_affect_the_next() -> None:
    world, starts, goals = problems(2)

    def second(spoiled: bool) -> Tensor:
        planner = RecedingHorizon(EVERY["cem"](world, GoalL1(1.0)), replan_every=2)
        generators = make_generators([0, 1])
        first = planner.plan(starts, goals, generators=generators)
        if spoiled:
            first.actions.fill_(torch.nan)
            first.energy.fill_(torch.nan)
        return planner.plan(starts, goals, generators=generators).actions

    assert torch.equal(second(spoiled=True), second(spoiled=False))


def test_modifying_an_action_does_not_affect_the_next() -> None:
    world, starts, goals = problems(2)

    def motion(spoiled: bool) -> list[Tensor]:
        acts = []
        with BackgroundPlanner(
            EVERY["cem"](world, GoalL1(1.0)), period_s=60.0, wait_first=False
        ) as background:
            generators = make_generators([0, 1])
            for _ in range(5):
                action = background.act(starts, goals, generators=generators)
                assert background.wait(60.0)
                acts.append(action.action.clone())
                if spoiled:
                    action.action.fill_(torch.nan)
        return acts

    for mine, theirs in zip(motion(spoiled=True), motion(spoiled=False), strict=True):
        assert torch.equal(mine, theirs)


# Energies.


def test_minus_infinity_never_wins(make: Make) -> None:
    def cost(actions: Tensor) -> Tensor:
        first = actions[..., 0, 0]
        return torch.where(first > 0.0, -torch.inf, first.abs() + 1.0)

    found = plan(make, PointWorld(LOW, HIGH), ActionCost(cost))
    assert bool((found.actions[:, 0, 0] <= 0.0).all())
    assert bool((found.energy < 1.05).all())
    assert all(within(tried) for tried in sequences(found))  # which NaN is not


def test_energies_of_only_minus_infinity_are_refused(make: Make) -> None:
    with pytest.raises(PlannerError, match="have a NaN or infinite energy"):
        plan(make, PointWorld(LOW, HIGH), ActionCost(lambda a: a.sum((-1, -2)) * 0 - torch.inf))


def test_energy_differences_below_float32_precision_count(make: Make) -> None:
    """Energies in float64 with a large constant added, against the same ones without it."""

    def cost(actions: Tensor) -> Tensor:
        return (actions.double() - 0.05).abs().sum((-1, -2))

    plain = plan(make, PointWorld(LOW, HIGH), ActionCost(cost))
    shifted = plan(make, PointWorld(LOW, HIGH), ActionCost(lambda a: 1e9 + cost(a)))
    assert plain.actions.dtype == shifted.actions.dtype == torch.float32
    torch.testing.assert_close(cost(shifted.actions), cost(plain.actions), rtol=0.05, atol=1e-3)
    middle = (torch.tensor(LOW) + torch.tensor(HIGH)) / 2
    assert bool((cost(shifted.actions) < cost(middle.expand(2, 3, 4))).all())


@pytest.mark.parametrize("scale", [1e30, 3e37])
def test_energies_near_the_largest_float_are_searched(make: Make, scale: float) -> None:
    def cost(actions: Tensor) -> Tensor:
        return (actions - 0.05).abs().sum((-1, -2))

    found = plan(make, PointWorld(LOW, HIGH), ActionCost(lambda a: scale * cost(a)))
    assert all(within(tried) for tried in sequences(found))
    middle = (torch.tensor(LOW) + torch.tensor(HIGH)) / 2
    assert bool((cost(found.actions) < cost(middle.expand(2, 3, 4))).all())


# Answers of another kind.

WRONG_ANSWERS: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "nothing": (lambda a: None, "What the world model's rollout returned is a NoneType; allowed is a tensor"),
    "a tuple": (lambda a: (a.unsqueeze(3),), "returned is a tuple; allowed is a tensor"),
    "a list": (lambda a: a.unsqueeze(3).tolist(), "returned is a list; allowed is a tensor"),
    "an array": (lambda a: a.detach().unsqueeze(3).numpy(), "returned is a ndarray; .*torch.as_tensor"),
    "a number": (lambda a: 1.0, "returned is a float"),
    "truth": (lambda a: a.unsqueeze(3) > 0, "is a tensor of torch.bool; allowed are real numbers"),
    "complex": (lambda a: torch.complex(a, a).unsqueeze(3), "is a tensor of torch.complex64"),
    "integers": (
        lambda a: a.unsqueeze(3).long(),
        "a tensor of torch.int64; allowed are floating-point numbers",
    ),
    "sparse": (lambda a: a.detach().unsqueeze(3).to_sparse(), "torch.sparse_coo; .* in a dense tensor"),
    "no device": (lambda a: a.unsqueeze(3).to("meta"), "returned a tensor on meta, and the goal is on cpu"),
    "a step less": (lambda a: a.unsqueeze(3)[:, :, 1:], r"returned shape \(2, 39, 2, 1, 4\) for actions"),
    "no tokens": (lambda a: a, r"returned shape \(2, 39, 3, 4\) for actions"),
}


@pytest.mark.parametrize("kind", WRONG_ANSWERS)
def test_invalid_predictions_are_refused(make: Make, kind: str) -> None:
    answer, message = WRONG_ANSWERS[kind]

    class Wrong(PointWorld):
        def rollout(self, context: Tensor, actions: Tensor) -> Any:
            return answer(actions)

    with pytest.raises(PlannerError, match=message):
        plan(make, Wrong(LOW, HIGH), GoalL1())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda f, a: f, "rollout_with_states returned a Tensor; allowed are two tensors"),
        (lambda f, a: (f,), "returned a tuple of 1; allowed are two tensors"),
        (lambda f, a: (f, None), "What the world model's rollout_with_states returned is a NoneType"),
        (lambda f, a: (f, a > 0), "is a tensor of torch.bool"),
        (lambda f, a: (f, a[:, 1:]), r"returned states of shape \(1, 38, 3, 4\) for actions"),
        (lambda f, a: (f, a.to("meta")), "rollout_with_states returned a tensor on meta"),
    ],
)
def test_invalid_states_are_refused(answer: Callable[[Tensor, Tensor], Any], message: str) -> None:
    class Wrong(PointWorld):
        def rollout_with_states(self, context: Tensor, actions: Tensor) -> Any:
            return answer(self.rollout(context, actions), actions)

    with pytest.raises(PlannerError, match=message):
        plan(EVERY["cem"], Wrong(LOW, HIGH), StateGoal([0.0] * 4), 1)


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (lambda e: None, "What the energy returned is a NoneType"),
        (lambda e: e.detach().numpy(), "What the energy returned is a ndarray"),
        (lambda e: e > 0, "is a tensor of torch.bool"),
        (lambda e: torch.complex(e, e), "is a tensor of torch.complex64"),
        (lambda e: e.to("meta"), "The energy returned a tensor on meta, and the actions is on cpu"),
        (lambda e: e.sum(), r"The energy returned shape \(\) for actions"),
    ],
)
def test_invalid_energies_are_refused(make: Make, energy: Callable[[Tensor], Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        plan(make, PointWorld(LOW, HIGH), ActionCost(lambda a: energy(a.sum((-1, -2)))))


@pytest.mark.parametrize("best", [None, "4", 2.5, True])
def test_an_invalid_number_of_samples_at_once_is_refused(best: Any) -> None:
    class Odd(PointWorld):
        def samples_at_once(self, context: Tensor, horizon: int) -> int:
            return best

    with pytest.raises(PlannerError, match="samples_at_once returned .*; allowed is a whole number"):
        plan(EVERY["cem"], Odd(LOW, HIGH), GoalL1())


# Bounds.


def bounded(low: Any, high: Any) -> PointWorld:
    world = PointWorld(LOW, HIGH)
    world.action_low, world.action_high = low, high
    return world


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        ([-1.0] * 4, torch.ones(4), "action_low is a list; allowed is a tensor"),
        (-torch.ones(4), np.ones(4), "action_high is a ndarray"),
        (-torch.ones(4), None, "action_high is a NoneType"),
        (torch.zeros(4, dtype=torch.bool), torch.ones(4), "action_low is a tensor of torch.bool"),
        (torch.zeros(4, dtype=torch.complex64), torch.ones(4), "action_low is a tensor of torch.complex64"),
        (torch.zeros(4, device="meta"), torch.ones(4), "action_low is on the meta device"),
    ],
)
def test_invalid_bounds_are_refused(make: Make, low: Any, high: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        plan(make, bounded(low, high), GoalL1())


def test_bounds_may_be_integers_or_of_two_dtypes(make: Make) -> None:
    low, high = torch.tensor([-1, -1, 0, -1]), torch.ones(4)
    expected = plan(make, bounded(low.float(), high), GoalL1(1.0))
    for bounds in ((low, high), (low, high.long()), (low.half(), high)):
        assert equal(plan(make, bounded(*bounds), GoalL1(1.0)), expected)
    assert plan(make, bounded(low, high.double()), GoalL1(1.0)).actions.dtype == torch.float64


# What callers give.


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"generators": None}, "generators is a NoneType; allowed is a list of B torch.Generator"),
        ({"generators": [0, 1]}, "generators is a list of int; .*planners.make_generators"),
        ({"generators": torch.Generator()}, "generators is a Generator; allowed is a list"),
        ({"goal": torch.zeros(2, 3, 4, dtype=torch.complex64)}, "goal is a tensor of torch.complex64"),
        ({"goal": torch.zeros(2, 3, 4, device="meta")}, "goal is on the meta device"),
        (
            {"warm_start": torch.zeros(2, 3, 4, dtype=torch.complex64)},
            "warm_start is a tensor of torch.complex64",
        ),
        ({"warm_start": torch.ones(2, 3, 4, dtype=torch.bool)}, "warm_start is a tensor of torch.bool"),
        ({"warm_start": np.zeros((2, 3, 4))}, "warm_start is a ndarray"),
        ({"warm_start": torch.zeros(2, 3, 4, device="meta")}, "warm_start is on the meta device"),
        ({"prefix": torch.zeros(2, 1, 4, dtype=torch.complex64)}, "prefix is a tensor of torch.complex64"),
        ({"prefix": np.zeros((2, 1, 4))}, "prefix is a ndarray"),
        ({"deadline_s": float("nan")}, "deadline_s is nan; allowed is None or a time"),
        ({"deadline_s": True}, "deadline_s is True; allowed is None or a time"),
    ],
)
def test_arguments_of_wrong_types_are_refused(make: Make, given: dict[str, Any], message: str) -> None:
    world, starts, goals = problems(2)
    arguments: dict[str, Any] = {"goal": goals, "generators": make_generators([0, 1])} | given
    with pytest.raises(PlannerError, match=message):
        make(world, GoalL1()).plan(starts, **arguments)


@pytest.mark.parametrize("energy", [None, "l1", GoalL1])
def test_an_energy_that_cannot_be_called_is_refused(energy: Any) -> None:
    with pytest.raises(PlannerError, match=r"energy is .*; allowed is what is called as energy\(predicted"):
        CEM(PointWorld(LOW, HIGH), energy=energy)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(1, 1), "shipped"])
def test_a_model_without_a_rollout_is_refused(model: Any) -> None:
    with pytest.raises(PlannerError, match="which has no rollout; allowed is a world model"):
        CEM(model, energy=GoalL1())
    with pytest.raises(PlannerError, match="which has no rollout; allowed is a world model"):
        Replicas([model])


@pytest.mark.parametrize(
    "wrap",
    [
        RecedingHorizon,
        SubGoals,
        lambda planner: ProposalPlanner(planner, lambda context, goal: goal),
        lambda planner: BackgroundPlanner(planner, period_s=1.0, hold=[0.0]),
    ],
)
@pytest.mark.parametrize("planner", [None, CEM, "cem", PointWorld(LOW, HIGH)])
def test_wrappers_refuse_objects_that_do_not_plan(wrap: Callable[[Any], Any], planner: Any) -> None:
    with pytest.raises(PlannerError, match="allowed is a planner, with plan and reset"):
        wrap(planner)


class Answering:
    """A planner that returns a given value."""

    horizon = 4

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def plan(self, *given: Any, **named: Any) -> Any:
        return self.answer

    def reset(self) -> None:
        """There is no state to reset."""


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "planner returned a NoneType; allowed is a planners.Plan"),
        (torch.zeros(1, 4, 2), "planner returned a Tensor; allowed is a planners.Plan"),
        (Plan(torch.zeros(2, 4, 2), torch.zeros(2), ()), r"actions of shape \(2, 4, 2\) for 1 problems"),
        (Plan([0.0], torch.zeros(1), ()), "returned is a list; allowed is a tensor"),  # type: ignore[arg-type]
    ],
)
def test_wrappers_refuse_invalid_plans(answer: Any, message: str) -> None:
    planner, goal, generators = Answering(answer), torch.zeros(1, 1, 2), make_generators([0])
    with pytest.raises(PlannerError, match=message):
        RecedingHorizon(planner).plan(None, goal, generators=generators)
    with pytest.raises(PlannerError, match=message):
        SubGoals(planner).plan(None, [goal] * 3, generators=generators)
    with (
        BackgroundPlanner(planner, period_s=1.0, hold=[0.0, 0.0]) as background,
        pytest.raises(PlannerError, match=message),
    ):
        background.act(None, goal, generators=generators)


def test_propose_must_be_callable_and_return_numbers() -> None:
    world, starts, goals = problems(1)
    cem = EVERY["cem"](world, GoalL1())
    with pytest.raises(PlannerError, match="propose is None; allowed is what is called as"):
        ProposalPlanner(cem, None)  # type: ignore[arg-type]
    for wrong, message in ((None, "is a NoneType"), (torch.zeros(1, 3, 4) > 0, "torch.bool")):
        proposing = ProposalPlanner(cem, lambda context, goal, wrong=wrong: wrong)  # type: ignore[misc]
        with pytest.raises(PlannerError, match=f"What propose returned .*{message}"):
            proposing.plan(starts, goals, generators=make_generators([0]))


@pytest.mark.parametrize("seeds", [[1.5], ["a"], None, [2**70], 3])
def test_invalid_seeds_are_refused(seeds: Any) -> None:
    with pytest.raises(PlannerError, match="seeds is .*; allowed is a list of whole numbers"):
        make_generators(seeds)


# Copies.


def copies(planner: Any) -> list[Any]:
    return [copy.deepcopy(planner), pickle.loads(pickle.dumps(planner))]


def proposed(context: Tensor, goal: Tensor) -> Tensor:
    return torch.full((len(goal), 3, 4), 0.05)


def test_planners_are_copied_and_stored_after_they_have_planned(make: Make) -> None:
    _, starts, goals = problems(2)
    planner = ProposalPlanner(make(Replicas([PointWorld(LOW, HIGH)] * 2), GoalL1(1.0)), proposed)
    contexts = [starts, starts]
    first = planner.plan(contexts, goals, generators=make_generators([0, 1]))
    for same in copies(planner):
        planner.reset()
        same.reset()
        assert equal(same.plan(contexts, goals, generators=make_generators([0, 1])), first)
        assert same.planner is not planner.planner


def test_a_copy_of_a_background_planner_has_a_thread_of_its_own() -> None:
    world, starts, goals = problems(1)
    with BackgroundPlanner(EVERY["cem"](world, GoalL1(1.0)), period_s=60.0) as background:
        done = [background.act(starts, goals, generators=make_generators([0])) for _ in range(2)]
        made = copies(background)
    for same in made:
        with same:
            assert same.held_count == 0
            action = same.act(starts, goals, generators=make_generators([1]))
            assert not action.held
            assert same.wait(60.0)
    with pytest.raises(PlannerError, match=r"act was called after close\(\)"):
        copy.deepcopy(background).act(starts, goals, generators=make_generators([0]))
    assert within(done[0].action)


# Holding.


class Targets(PointWorld):
    """A point that moves to its target, with a known hold action."""

    action_type = "absolute"
    action_step = None

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        return self.features(actions)

    def hold_action(self, context: Tensor) -> Tensor | None:
        return context


def holding(world: Any, **options: Any) -> BackgroundPlanner:
    planner = EVERY["cem"](world, GoalL1(), horizon=4)
    return BackgroundPlanner(planner, period_s=60.0, replan_every=2, wait_first=False, **options)


def test_a_model_that_declares_nothing_needs_a_hold_action() -> None:
    class Undeclared(PointWorld):
        action_type = None  # type: ignore[assignment]

    with pytest.raises(PlannerError, match="Undeclared declares no action_type: zeros would be a motion"):
        holding(Undeclared(LOW, HIGH))
    with holding(Undeclared(LOW, HIGH), hold=[0.0, 0.1, 0.3, 0.0]) as background:
        assert background.hold is not None
        assert background.hold.tolist() == pytest.approx([0.0, 0.1, 0.3, 0.0])


def test_targets_without_a_hold_action_need_one() -> None:
    class Unknowing(PointWorld):
        action_type = "absolute"

    with pytest.raises(PlannerError, match="has targets for actions, and no hold_action"):
        holding(Unknowing(LOW, HIGH))


def test_an_arm_controlled_by_targets_is_held_at_the_state_where_holding_started() -> None:
    world = Targets([-1.0] * 4, [1.0] * 4)
    start, later = torch.full((2, 4), 0.4), torch.full((2, 4), 0.3)
    goals = world.features(torch.full((2, 4), 0.5))
    with holding(world) as background:
        first = background.act(start, goals, generators=make_generators([0, 1]))
        assert first.held
        assert torch.equal(first.action, start)
        second = background.act(later, goals, generators=make_generators([2, 3]))
        assert second.held
        assert torch.equal(second.action, start), "an arm that sags must not be followed down"
        background.reset()
        assert torch.equal(background.act(later, goals, generators=make_generators([0, 1])).action, later)


def test_targets_whose_hold_is_not_known_are_not_held_at_zeros() -> None:
    class Lost(Targets):
        def hold_action(self, context: Tensor) -> Tensor | None:
            return None

    with (
        holding(Lost([-1.0] * 4, [1.0] * 4)) as background,
        pytest.raises(PlannerError, match="does not know which hold the robot .*Pass the hold action"),
    ):
        background.act(torch.zeros(1, 4), torch.zeros(1, 3, 4), generators=make_generators([0]))


@pytest.mark.parametrize(
    "hold", ["x", 0.0, [], [[0.0] * 4], [0.0, None, 0.0, 0.0], [float("nan")] * 4, np.zeros(4) > 0, {"a": 1}]
)
def test_an_invalid_hold_action_is_refused(hold: Any) -> None:
    with pytest.raises(PlannerError, match=r"hold is .*; allowed is an action \[A\]"):
        holding(PointWorld(LOW, HIGH), hold=hold)


def test_the_hold_action_is_a_copy_of_what_was_given() -> None:
    given = np.array([0.0, 0.05, 0.3, 0.0], dtype=np.float32)
    with holding(PointWorld(LOW, HIGH), hold=given) as background:
        given[:] = 9.0
        assert background.hold is not None
        assert background.hold.tolist() == pytest.approx([0.0, 0.05, 0.3, 0.0])


# Several robots.


def test_bounds_are_those_of_the_contexts_robot(make: Make) -> None:
    class Shared(PointWorld):
        """A model whose selected robot differs from the context's."""

        def for_context(self, context: Tensor) -> PointWorld:
            return PointWorld(LOW, HIGH)

    shared = Shared([5.0] * 4, [6.0] * 4)
    assert equal(plan(make, shared, GoalL1(1.0)), plan(make, PointWorld(LOW, HIGH), GoalL1(1.0)))


WRITES: dict[str, Callable[[Tensor], object]] = {
    "NumPy": lambda tensor: tensor.numpy().fill(0),
    ".data": lambda tensor: tensor.data.zero_(),
}


@pytest.mark.parametrize("write", WRITES)
def test_writes_that_bypass_the_version_counter_are_isolated(make: Make, write: str) -> None:

    class Spoils(ActionPenalty):
        def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
            for tensor in (predicted.detach(), goal):
                WRITES[write](tensor)
            return super().__call__(predicted, goal, actions)

    spoilt = plan(make, PointWorld(LOW, HIGH), Spoils() + GoalL1())
    assert equal(spoilt, plan(make, PointWorld(LOW, HIGH), ActionPenalty() + GoalL1()))


def test_propose_cannot_modify_the_goal() -> None:
    _, starts, goals = problems(2)
    kept = goals.clone()

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        goal.zero_()
        return torch.zeros(2, 1, len(LOW))

    search = CEM(PointWorld(LOW, HIGH), energy=GoalL1(), num_samples=16, num_iterations=2)
    ProposalPlanner(search, propose).plan(starts, goals, generators=make_generators([0, 1]))
    assert torch.equal(goals, kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy": 0.5}, "energy .* is a float"),
        ({"energy": torch.zeros(3)}, r"energy of shape \(3,\) for 2 problems"),
        ({"actions": torch.full((2, 4, 2), torch.nan)}, "actions with NaN"),
        ({"actions": torch.zeros(2, 4, 2, device="meta")}, "on the meta device"),
        ({"warm_starts": torch.zeros(2, 1, 3, 2)}, "warm_starts of shape"),
        ({"warm_starts": np.zeros((2, 1, 4, 2))}, "The warm_starts of the plan .* is a ndarray"),
    ],
)
def test_every_field_of_a_plan_is_checked(change: dict[str, Any], message: str) -> None:
    parts = {"actions": torch.zeros(2, 4, 2), "energy": torch.zeros(2), "iterations": (), "warm_starts": None}

    class Answers:
        def plan(self, *args: Any, **rest: Any) -> Plan:
            return Plan(**{**parts, **change})

        def reset(self) -> None: ...

    _, starts, goals = problems(2)
    with pytest.raises(PlannerError, match=message):
        RecedingHorizon(Answers()).plan(starts, goals, generators=make_generators([0, 1]))
