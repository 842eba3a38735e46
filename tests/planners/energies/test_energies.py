from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from planners import CEM, GoalL1, GradientDescent, PlannerError, ReadStateGoal, energy_for, make_generators
from planners.energies.action import ActionPenalty, Smoothness
from planners.energies.composition import Composable
from planners.energies.goal import GoalCosine, GoalL2
from planners.energies.state import StateGoal
from planners.protocols import Energy
from tests.planners.worlds import ActionCost, PointWorld

PROBLEMS, SAMPLES, STEPS, STATE, ACTION = 5, 3, 4, 6, 7


def example() -> tuple[Tensor, Tensor, Tensor]:
    """B=1, S=2, K=2, N=1, D=2: distances (1, 3) for the first sample and (5, 0) for the second."""
    goal = torch.tensor([[[1.0, -1.0]]])
    first = [[[2.0, 0.0]], [[4.0, -4.0]]]
    second = [[[6.0, 4.0]], [[1.0, -1.0]]]
    return torch.tensor([[first, second]]), goal, torch.zeros(1, 2, 2, 3)


def one(features: list[list[float]]) -> Tensor:
    """Return the features `[N, D]` of a single step of a single sample, `[1, 1, 1, N, D]`."""
    return torch.tensor(features)[None, None, None]


def energy_of_states(energy: StateGoal, states: list[list[list[float]]]) -> list[list[float]]:
    """Return the energies of states `[S, K, P]`, of one problem."""
    imagined = torch.tensor(states)[None]
    count, steps = imagined.shape[1:3]
    return energy(
        torch.zeros(1, count, steps, 1, 1),
        torch.zeros(1, 1, 1),
        torch.zeros(1, count, steps, 2),
        states=imagined,
    ).tolist()


def energy_of_actions(energy: Composable, actions: list[list[float]]) -> float:
    """Return the energy of one plan `[K, A]`."""
    plan = torch.tensor(actions)[None, None]
    return energy(torch.zeros(1, 1, len(actions), 1, 1), torch.zeros(1, 1, 1), plan).item()


def inputs(batch: int, tokens: int = 6, width: int = 5) -> dict[str, Tensor]:
    """Return random arguments for any energy."""
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "predicted": (batch, SAMPLES, STEPS, tokens, width),
        "goal": (batch, tokens, width),
        "actions": (batch, SAMPLES, STEPS, ACTION),
        "states": (batch, SAMPLES, STEPS, STATE),
    }
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def call(energy: Energy, arguments: dict[str, Tensor]) -> Tensor:
    """Call an energy as the planners do."""
    given = dict(arguments)
    if not getattr(energy, "needs_states", False):
        del given["states"]
    return energy(**given)


def numbers(*shape: int) -> Tensor:
    """Return numbers between 0.1 and 1, the same at each call."""
    return 0.1 + 0.9 * torch.rand(shape, generator=torch.Generator().manual_seed(1))


EVERY: dict[str, Callable[[], Composable]] = {
    "l1": lambda: GoalL1(0.9),
    "l2": lambda: GoalL2(0.9),
    "cosine": lambda: GoalCosine(0.9),
    "l1 of weighted patches": lambda: GoalL1(1.0, weights=numbers(6)),
    "l2 of weighted patches": lambda: GoalL2(weights=numbers(6)),
    "cosine of weighted patches": lambda: GoalCosine(0.5, weights=numbers(6)),
    "state": lambda: StateGoal(numbers(STATE), norm="l2", discount=0.9, angles=(3, 4, 5)),
    "weighted state": lambda: StateGoal(numbers(STATE), weights=[1, 2, 0, 0, 1, 0.5]),
    "penalty": lambda: ActionPenalty(),
    "weighted penalty": lambda: ActionPenalty(numbers(ACTION), "l1", target=numbers(ACTION)),
    "smoothness": lambda: Smoothness(numbers(ACTION)),
    "sum": lambda: GoalL1(1.0) + 0.1 * Smoothness(norm="l1") + 2 * StateGoal(numbers(STATE), norm="l2"),
}


@pytest.fixture(params=EVERY)
def energy(request: pytest.FixtureRequest) -> Composable:
    return EVERY[request.param]()


# --- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("discount", "expected"),
    [(0.0, [3.0, 0.0]), (1.0, [2.0, 2.5]), (0.5, [(0.5 * 1 + 3) / 1.5, 0.5 * 5 / 1.5])],
)
def test_energy_is_the_equation_worked_by_hand(discount: float, expected: list[float]) -> None:
    predicted, goal, actions = example()
    torch.testing.assert_close(GoalL1(discount)(predicted, goal, actions), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("discount", "expected"), [(0.0, [9.0, 0.0]), (1.0, [5.0, 12.5]), (0.5, [9.5 / 1.5, 12.5 / 1.5])]
)
def test_the_squared_distance_worked_by_hand(discount: float, expected: list[float]) -> None:
    predicted, goal, actions = example()
    torch.testing.assert_close(GoalL2(discount)(predicted, goal, actions), torch.tensor([expected]))


@pytest.mark.parametrize(
    ("token", "expected"),
    [([7.0, 0.0], 0.0), ([3.0, 4.0], 0.4), ([0.0, 2.0], 1.0), ([-5.0, 0.0], 2.0), ([0.0, 0.0], 1.0)],
)
def test_the_cosine_ignores_lengths(token: list[float], expected: float) -> None:
    energy = GoalCosine()(one([token]), torch.tensor([[[2.0, 0.0]]]), torch.zeros(1, 1, 1, 2))
    assert energy.item() == pytest.approx(expected, abs=1e-6)


def test_the_cosine_is_a_mean_over_tokens() -> None:
    predicted, goal = one([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert GoalCosine()(predicted, goal, torch.zeros(1, 1, 1, 2)).item() == pytest.approx(0.7)


def test_the_cosine_of_a_small_angle_is_not_lost_to_rounding() -> None:
    # 1 - cos(x) = x^2 / 2 for small x; in float32, cos(1e-4) is 1.
    energy = GoalCosine()(one([[1.0, 1e-4]]), torch.tensor([[[1.0, 0.0]]]), torch.zeros(1, 1, 1, 2))
    assert energy.item() == pytest.approx(5e-9, rel=1e-3)


@pytest.mark.parametrize(
    ("goal_type", "expected"), [(GoalL1, (1 + 18) / 4), (GoalL2, (1 + 108) / 4), (GoalCosine, 3 * 2 / 4)]
)
def test_patches_count_by_their_weights(goal_type: type[Composable], expected: float) -> None:
    # Distances 1, 2 and 6 on both channels; the last token points the other way.
    goal = torch.tensor([[[1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]])
    predicted = one([[2.0, 2.0], [3.0, 3.0], [-3.0, -3.0]])
    weighted = goal_type(weights=[1, 0, 3])  # type: ignore[call-arg]
    assert weighted(predicted, goal, torch.zeros(1, 1, 1, 2)).item() == pytest.approx(expected)


def test_each_problem_may_have_weights_of_its_own() -> None:
    predicted, goal = one([[2.0], [9.0]]).expand(2, 1, 1, 2, 1), torch.zeros(2, 2, 1)
    energy = GoalL1(weights=[[1, 0], [0, 5]])(predicted, goal, torch.zeros(2, 1, 1, 2))
    assert energy.tolist() == [[2.0], [9.0]]


def test_half_precision_predictions_are_compared_in_float32() -> None:
    predicted, goal, actions = example()
    energy = GoalL1()(predicted.bfloat16(), goal, actions)
    assert energy.dtype == torch.float32
    assert energy.tolist() == [[3.0, 0.0]]


@pytest.mark.parametrize("goal_type", [GoalL1, GoalL2, GoalCosine])
def test_a_mean_over_half_precision_features_is_not_rounded_to_it(goal_type: type[Composable]) -> None:
    # bfloat16 keeps 8 bits: a sum of 4096 numbers would stop growing, and a mean be off by a few per cent.
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(1, 2, 1, 64, 64, generator=generator).bfloat16()
    goal, actions = torch.randn(1, 64, 64, generator=generator).bfloat16(), torch.zeros(1, 2, 1, 7)
    energy = goal_type()(predicted, goal, actions)
    assert energy.dtype == torch.float32
    torch.testing.assert_close(
        energy, goal_type()(predicted.float(), goal.float(), actions), rtol=1e-6, atol=0
    )


def test_double_precision_predictions_give_a_double_precision_energy() -> None:
    predicted, goal, actions = example()
    assert GoalL1(weights=[2])(predicted.double(), goal.double(), actions).dtype == torch.float64


class LargestFloat(TorchDispatchMode):
    """Records the largest float32 tensor that any operation returns."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dtype == torch.float32:
            self.numel = max(self.numel, result.numel())
        return result


@pytest.mark.parametrize("goal_type", [GoalL1, GoalL2, GoalCosine])
def test_steps_that_do_not_count_are_neither_widened_nor_read(goal_type: type[Composable]) -> None:
    predicted = torch.ones(2, 3, 8, 4, 5, dtype=torch.bfloat16)
    predicted[:, :, :-1] = torch.nan
    goal, actions = torch.ones(2, 4, 5, dtype=torch.bfloat16), torch.zeros(2, 3, 8, 7)
    with LargestFloat() as seen:
        energy = goal_type()(predicted, goal, actions)
    assert torch.equal(energy, torch.zeros(2, 3))
    assert seen.numel == 3 * 4 * 5


# --- states ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("norm", "expected"), [("l1", 7.0), ("l2", 5.0)])
def test_the_distance_of_states_worked_by_hand(norm: Any, expected: float) -> None:
    assert energy_of_states(StateGoal([1.0, 1.0], norm=norm), [[[4.0, -3.0]]]) == [[expected]]


def test_the_weights_of_a_state_multiply_its_entries() -> None:
    # 2 * 3 and 1 * 8.
    assert energy_of_states(StateGoal([0.0, 0.0], weights=[2, 1], norm="l2"), [[[3.0, 8.0]]]) == [[10.0]]


def test_state_entries_of_weight_zero_are_ignored() -> None:
    energy = StateGoal([0.0, 0.0, 1.0], weights=[2, 0, 1], norm="l2")
    assert energy_of_states(energy, [[[3.0, math.nan, 9.0]]]) == [[10.0]]


@pytest.mark.parametrize(
    ("discount", "expected"), [(0.0, 1.0), (1.0, 2.0), (0.5, (0.25 * 3 + 0.5 * 2 + 1) / 1.75)]
)
def test_the_steps_of_a_state_count_by_their_discount(discount: float, expected: float) -> None:
    energy = energy_of_states(StateGoal([0.0], discount=discount), [[[3.0], [2.0], [1.0]]])
    assert energy == [[pytest.approx(expected)]]


def test_angles_differ_the_short_way_round() -> None:
    # From -3 to 3 rad it is 2 pi - 6 the short way; three whole turns are nothing; the first entry is a length.
    energy = StateGoal([3.0, 3.0, 0.5], angles=(1, 2))
    found = energy_of_states(energy, [[[-3.0, -3.0, 0.5 + 6 * math.pi]]])
    assert found == [[pytest.approx(6.0 + 2 * math.pi - 6, abs=1e-5)]]


def test_a_small_difference_of_angles_is_exact() -> None:
    assert energy_of_states(StateGoal([0.0], angles=(0,)), [[[2.0**-20]]]) == [[2.0**-20]]


def test_each_problem_may_have_a_wanted_state_of_its_own() -> None:
    arguments = inputs(2) | {"states": torch.zeros(2, SAMPLES, STEPS, 1)}
    assert call(StateGoal([[1.0], [4.0]]), arguments).tolist() == [[1.0] * SAMPLES, [4.0] * SAMPLES]


def test_later_changes_of_the_callers_tensor_have_no_effect() -> None:
    wanted = torch.zeros(1)
    energy = StateGoal(wanted)
    wanted += 1
    assert energy_of_states(energy, [[[0.0]]]) == [[0.0]]


# --- actions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (ActionPenalty(), (5 + 13) / 2),
        (ActionPenalty(norm="l1"), (7 + 17) / 2),
        (ActionPenalty([1, 0]), (3 + 5) / 2),
        (ActionPenalty([4, 0.5], norm="l1"), (14 + 26) / 2),
        (ActionPenalty([5 / 3, 3]), (13 + math.hypot(25 / 3, 36)) / 2),
        (ActionPenalty(target=[0, 12]), (math.hypot(3, 8) + 5) / 2),
        (ActionPenalty(norm="l1", target=[3, 4]), (0 + 10) / 2),
    ],
)
def test_the_size_of_actions_worked_by_hand(energy: Composable, expected: float) -> None:
    assert energy_of_actions(energy, [[3.0, 4.0], [5.0, 12.0]]) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("energy", "expected"),
    [
        (Smoothness(), (5 + 13) / 2),
        (Smoothness(norm="l1"), (7 + 17) / 2),
        (Smoothness([2, 0]), (6 + 10) / 2),
    ],
)
def test_the_change_of_actions_worked_by_hand(energy: Composable, expected: float) -> None:
    # Changes of (3, 4) and (-5, 12).
    assert energy_of_actions(energy, [[1.0, 1.0], [4.0, 5.0], [-1.0, 17.0]]) == pytest.approx(expected)


def test_a_single_action_is_smooth() -> None:
    assert energy_of_actions(Smoothness(), [[5.0, -3.0]]) == 0.0


# --- all of them ----------------------------------------------------------------------------------------------------


def test_energy_of_a_problem_does_not_depend_on_the_batch() -> None:
    # Large enough for the reduction to be split between threads, where a whole-batch mean would differ.
    generator = torch.Generator().manual_seed(0)
    predicted = torch.randn(4, 1, 2, 256, 192, generator=generator)
    goal = torch.randn(4, 256, 192, generator=generator)
    actions = torch.zeros(4, 1, 2, 7)
    weights = torch.rand(256, generator=generator)
    for energy in (
        GoalL1(0.9),
        GoalL2(),
        GoalL2(weights=weights),
        GoalCosine(0.9),
        GoalCosine(weights=weights),
    ):
        together = energy(predicted, goal, actions)
        alone = [energy(predicted[b : b + 1], goal[b : b + 1], actions[b : b + 1]) for b in range(4)]
        assert torch.equal(together, torch.cat(alone))


def test_every_energy_is_the_same_alone_and_in_a_batch(energy: Composable) -> None:
    arguments = inputs(PROBLEMS)
    together = call(energy, arguments)
    assert together.shape == (PROBLEMS, SAMPLES)
    assert together.dtype == torch.float32
    alone = [call(energy, {name: a[b : b + 1] for name, a in arguments.items()}) for b in range(PROBLEMS)]
    assert torch.equal(together, torch.cat(alone))


def test_every_gradient_equals_finite_differences(energy: Composable) -> None:
    arguments = inputs(2)
    step = 1e-2
    for name in ("predicted", "actions", "states"):
        at = arguments[name].clone().requires_grad_()
        energies = call(energy, arguments | {name: at})
        if not energies.requires_grad:
            continue
        (gradient,) = torch.autograd.grad(energies.double().sum(), at)
        assert gradient.abs().max() > 1e-3
        for entry in torch.nonzero(torch.ones_like(at[:, :1]))[::3].tolist():
            moved = torch.zeros_like(at)
            moved[tuple(entry)] = step
            behind, here, ahead = (
                call(energy, arguments | {name: arguments[name] + sign * moved}).double().sum()
                for sign in (-1, 0, 1)
            )
            # On either side of it: they are apart where an absolute value has its kink between the three points.
            slopes = sorted(((here - behind).item() / step, (ahead - here).item() / step))
            slack = 2e-4 + 0.01 * abs(slopes[1])
            assert slopes[0] - slack <= gradient[tuple(entry)].item() <= slopes[1] + slack


def test_each_argument_that_matters_has_a_gradient() -> None:
    arguments = {name: a.requires_grad_() for name, a in inputs(1).items()}
    call(EVERY["sum"](), arguments).sum().backward()
    assert all(bool(a.grad is not None and a.grad.abs().sum() > 0) for a in arguments.values())


@pytest.mark.parametrize("name", EVERY)
def test_at_its_minimum_a_gradient_is_finite(name: str) -> None:
    # Norms and cosines have no slope at zero: it must come out as a number all the same.
    arguments = {key: torch.zeros_like(a).requires_grad_() for key, a in inputs(1).items()}
    call(EVERY[name](), arguments).sum().backward()
    grads = [a.grad for a in arguments.values() if a.grad is not None]
    assert grads
    assert all(bool(torch.isfinite(grad).all()) for grad in grads)


def test_weights_follow_the_predictions_to_their_device(energy: Composable) -> None:
    elsewhere = {name: a.to("meta") for name, a in inputs(2).items()}
    assert call(energy, elsewhere).device.type == "meta"


# --- sums -----------------------------------------------------------------------------------------------------------


def test_a_sum_is_the_sum_of_its_terms() -> None:
    total = GoalL1() + 0.5 * ActionPenalty(norm="l1") + Smoothness() * 3
    predicted, goal, _ = example()
    actions = torch.tensor([[[[1.0, 1.0], [1.0, 3.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    # 3 + 0.5 * (2 + 4) / 2 + 3 * 2, and nothing for a plan that rests at the goal.
    assert total(predicted, goal, actions).tolist() == [[10.5, 0.0]]


def test_a_multiple_of_a_sum_multiplies_each_term() -> None:
    assert repr(2 * (GoalL1() + 0.5 * Smoothness())) == "2 * GoalL1(discount=0) + Smoothness(norm='l2')"


def test_sums_can_be_made_by_sum_and_by_numpy_numbers() -> None:
    terms = [np.float64(0.5) * GoalL1(), np.float32(2) * GoalL2()]  # type: ignore[operator]
    predicted, goal, actions = example()
    assert sum(terms[1:], start=terms[0])(predicted, goal, actions).tolist() == [[19.5, 0.0]]
    assert repr(sum(terms)) == "0.5 * GoalL1(discount=0) + 2 * GoalL2(discount=0)"


def test_any_callable_can_be_a_term_on_either_side() -> None:
    plain = ActionCost(lambda actions: actions.sum((-1, -2)))
    predicted, goal, actions = example()
    for total in (GoalL1() + plain, plain + GoalL1()):
        assert total(predicted, goal, actions + 1).tolist() == [[9.0, 6.0]]


def test_states_are_requested_and_passed_only_if_a_term_needs_them() -> None:
    assert not (GoalL1() + Smoothness()).needs_states
    total = GoalL1() + 0.5 * StateGoal([0.0])  # a GoalL1 that was called with states would raise
    assert total.needs_states
    assert (total + Smoothness()).needs_states
    predicted, goal, actions = example()
    energy = total(predicted, goal, actions, states=torch.full((1, 2, 2, 1), 4.0))
    assert energy.tolist() == [[5.0, 2.0]]


def test_repr_is_readable() -> None:
    total = GoalL1() + 0.1 * Smoothness() + 2 * StateGoal([0.1, 0.2], weights=[1, 0], angles=(1,))
    assert repr(total) == (
        "GoalL1(discount=0) + 0.1 * Smoothness(norm='l2') + 2 * StateGoal(goal_state=[0.1, 0.2], weights=[1, 0], "
        "norm='l1', discount=0, angles=(1,))"
    )
    assert repr(GoalL2(0.5, torch.ones(256))) == "GoalL2(discount=0.5, weights=<256 numbers>)"
    assert repr(ActionPenalty(target=[0, 1])) == "ActionPenalty(norm='l2', target=[0, 1])"


class StatefulPoint(PointWorld):
    """Imagines its position as the robot's state."""

    def rollout_with_states(self, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rollout(context, actions), context[:, None, None] + actions.cumsum(dim=2)


def test_planners_minimise_a_sum() -> None:
    # m (x - 0.5)^2 + 0.1 |x| with m = (0.25 + 1 + 2.25) / 3 is least where 2 m (x - 0.5) = -0.1.
    world = StatefulPoint([-1.0], [1.0])
    energy = GoalL2() + 0.1 * StateGoal([0.0]) + 2 * Smoothness()
    start, goal = torch.zeros(1, 1), world.features(torch.tensor([[0.5]]))
    least = 0.5 - 0.05 / (3.5 / 3)
    cem = CEM(world, energy=energy, num_samples=200, num_elites=10, momentum_std=0.2)
    descent = GradientDescent(world, energy=energy, num_iterations=100, lr=0.05)
    for planner in (cem, descent):
        plan = planner.plan(start, goal, generators=make_generators([0]))
        assert plan.actions.item() == pytest.approx(least, abs=5e-3)


def test_states_are_requested_from_a_model_that_has_them() -> None:
    planner = CEM(PointWorld([-1.0], [1.0]), energy=GoalL1() + StateGoal([0.0]), num_samples=10, num_elites=2)
    with pytest.raises(
        PlannerError, match="needs the imagined states, and PointWorld has no rollout_with_states"
    ):
        planner.plan(torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]))


# --- errors ---------------------------------------------------------------------------------------------------------


def test_a_goal_of_another_width_is_refused() -> None:
    predicted, _, actions = example()
    with pytest.raises(
        PlannerError, match=r"predictions of shape \(1, 2, 2, 1, 2\) and a goal of shape \(1, 1, 5\)"
    ):
        GoalL1()(predicted, torch.zeros(1, 1, 5), actions)
    with pytest.raises(PlannerError, match=r"GoalCosine got predictions of shape \(2, 2, 1, 2\)"):
        GoalCosine()(predicted[0], torch.zeros(1, 1, 2), actions)


def test_a_discount_outside_its_range_is_refused() -> None:
    with pytest.raises(PlannerError, match=r"discount=1\.5; it allows numbers from 0"):
        GoalL1(1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GoalL2(-0.1), r"GoalL2 got discount=-0\.1; it allows numbers from 0"),
        (lambda: GoalCosine(math.nan), "GoalCosine got discount=nan"),
        (lambda: GoalL1("last"), "GoalL1 got discount=last"),  # type: ignore[arg-type]
        (lambda: GoalL1(weights=[1, -2]), r"GoalL1 got weights from -2 to 1; .*at least 0"),
        (
            lambda: GoalL1(weights=[0, 0]),
            r"weights from 0 to 0; .*at least one, for each problem, is above 0",
        ),
        (lambda: GoalL1(weights=[[1, 1], [0, 0]]), "weights from 0 to 1; .*for each problem"),
        (lambda: GoalL1(weights=[1, math.inf]), r"weights=\[1\.0, inf\] of shape \(2,\); .*finite numbers"),
        (lambda: GoalL1(weights=torch.ones(2, 3, 4)), r"shape \(2, 3, 4\); .*shape \[N\] or \[B, N\]"),
        (lambda: GoalL1(weights=["left"]), r"GoalL1 got weights=\['left'\]; it allows finite numbers"),
        (lambda: GoalL1(weights=[]), r"weights=\[\] of shape \(0,\)"),
        (lambda: StateGoal([math.nan]), r"StateGoal got goal_state=\[nan\]"),
        (lambda: StateGoal(1.0), r"goal_state=1\.0 of shape \(\); .*\[P\] or \[B, P\]"),  # type: ignore[arg-type]
        (lambda: StateGoal([1, 2], weights=[1]), r"weights of shape \(1,\) for 2 state entries"),
        (lambda: StateGoal([1], weights=[[1]]), r"weights=\[\[1\.0\]\] of shape \(1, 1\); .*shape \[P\]\."),
        (lambda: StateGoal([1], norm="l3"), r"StateGoal's norm is 'l3'; allowed are 'l1', 'l2'"),  # type: ignore[arg-type]
        (lambda: StateGoal([1], discount=2), "StateGoal got discount=2"),
        (lambda: StateGoal([1, 2], angles=(2,)), r"angles=\(2,\) for a state of 2 numbers; .*from 0 to 1"),
        (lambda: StateGoal([1, 2], angles=(1, 1)), r"angles=\(1, 1\) .*different whole numbers"),
        (lambda: ActionPenalty(norm="max"), "ActionPenalty's norm is 'max'"),  # type: ignore[arg-type]
        (lambda: ActionPenalty([1, 1], target=[0]), r"weights of shape \(2,\) for 1 target entries"),
        (lambda: Smoothness([-1]), "Smoothness got weights from -1 to -1"),
        (lambda: -1 * GoalL1(), r"GoalL1\(discount=0\) was multiplied by -1; .*at least 0"),
        (lambda: GoalL1() * math.inf, "multiplied by inf; allowed is a finite number"),
        (lambda: GoalL1() * GoalL2(), r"multiplied by GoalL2\(discount=0\)"),  # type: ignore[operator]
        (lambda: np.ones(2) * GoalL1(), r"multiplied by array\(\[1\., 1\.\]\)"),  # type: ignore[operator]
        (lambda: GoalL1() + 1, "1 was added to an energy; allowed are energies"),  # type: ignore[operator]
        (lambda: 1 + GoalL1(), "1 was added to an energy"),
    ],
)
def test_arguments_that_are_not_allowed_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        make()


@pytest.mark.parametrize(
    ("energy", "message"),
    [
        (GoalL1(weights=[1, 2]), r"GoalL1 has weights of shape \(2,\) for 6 patches; it allows as many"),
        (GoalL2(weights=torch.ones(3, 6)), "weights of 3 problems and was called with 2"),
        (StateGoal(torch.ones(3, STATE)), "goal_state of 3 problems and was called with 2"),
        (StateGoal([1, 2]), r"states of shape \(2, 3, 4, 6\) for actions of shape \(2, 3, 4, 7\); .*P=2"),
        (ActionPenalty(weights=[1, 2]), r"ActionPenalty has weights of shape \(2,\) for 7 action axes"),
        (ActionPenalty(target=[1, 2]), r"ActionPenalty has target of shape \(2,\) for 7 action axes"),
        (Smoothness(weights=[1]), r"Smoothness has weights of shape \(1,\) for 7 action axes"),
        (GoalL1() + ActionCost(lambda a: a.sum(-1)), r"energy returned shape \(2, 3, 4\)"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(energy: Composable, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        call(energy, inputs(2))


def test_states_and_actions_that_are_missing_are_refused() -> None:
    arguments = inputs(2)
    states = arguments.pop("states")
    with pytest.raises(PlannerError, match=r"StateGoal got no states for actions of shape \(2, 3, 4, 7\)"):
        StateGoal(torch.ones(STATE))(**arguments)
    with pytest.raises(PlannerError, match=r"StateGoal got states of shape \(2, 3, 3, 6\)"):
        StateGoal(torch.ones(STATE))(**arguments, states=states[:, :, 1:])
    with pytest.raises(
        PlannerError, match=r"Smoothness got actions of shape \(3, 4, 7\); it allows \[B, S, K, A\]"
    ):
        Smoothness()(arguments["predicted"], arguments["goal"], arguments["actions"][0])


class SeenStates(PointWorld):
    """The point's position is its state."""

    def rollout_with_states(self, context: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        return self.rollout(context, actions), context[:, None, None] + actions.cumsum(dim=2)


def test_a_goal_state_is_read_once_for_each_plan_and_each_problem_has_its_own() -> None:
    world, reads = SeenStates([-1.0] * 2, [1.0] * 2), []

    def read(context: Tensor, goal: Tensor) -> Tensor:
        reads.append(len(goal))
        return goal.mean(dim=1)  # the weights' mean is 1

    blind = GoalL1(weights=[1.0, 0.0, 0.0]) * 0
    planner = CEM(world, energy=blind + 2 * ReadStateGoal(read), horizon=2, num_samples=256, num_iterations=8)
    start, wanted = torch.zeros(2, 2), torch.tensor([[0.5, -1.2], [1.5, 0.3]])
    plan = planner.plan(start, world.features(wanted), generators=make_generators([0, 1]))
    torch.testing.assert_close(plan.actions.sum(dim=1), wanted, atol=0.03, rtol=0)
    assert reads == [2]

    energy = energy_for(blind + 2 * ReadStateGoal(read), start, world.features(wanted))
    imagined, states = world.rollout_with_states(start, plan.actions[:, None])
    found = energy(imagined, world.features(wanted), plan.actions[:, None], states=states)  # type: ignore[call-arg]
    torch.testing.assert_close(found[:, 0], plan.energy)
    with pytest.raises(PlannerError, match="called before it knew the problems"):
        ReadStateGoal(read)(imagined, world.features(wanted), plan.actions[:, None], states=states)
