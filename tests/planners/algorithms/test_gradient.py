from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import GoalL1, GradientDescent, PlannerError, make_generators
from tests.planners.worlds import ActionCost, PointWorld, WatchedWorld

ONE = (torch.zeros(1, 1), torch.zeros(1, 3, 1))
"""Context and goal of one problem with one axis, for costs that look at actions only."""


def numpy_adam(
    position: np.ndarray, slope: np.ndarray, bottom: np.ndarray, lr: float, steps: int
) -> list[np.ndarray]:
    """Return the iterates of Adam (arXiv:1412.6980, algorithm 1) down slope * (u - bottom)^2 in the box [-1, 1]."""
    mean, square = np.zeros_like(position), np.zeros_like(position)
    iterates = [position]
    for t in range(1, steps):
        gradient = 2 * slope * (position - bottom)
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        step = lr * (mean / (1 - 0.9**t)) / (np.sqrt(square / (1 - 0.999**t)) + 1e-8)
        position = np.clip(position - step, -1.0, 1.0)
        iterates.append(position)
    return iterates


def test_updates_on_a_quadratic_equal_adams() -> None:
    # The second axis has its bottom outside the box, the third near a wall, the fourth a gradient as small as Adam's
    # epsilon.
    low, high = [-0.1, 0.0, -3.0, -0.01], [0.3, 0.5, 1.0, 0.01]
    weight, bottom = torch.tensor([20.0, 3.0, 0.5, 1e-4]), torch.tensor([0.05, 0.8, 0.95, 0.004])
    cost = ActionCost(lambda actions: (weight * (actions - bottom).square()).sum((-1, -2)))
    planner = GradientDescent(
        PointWorld(low, high), energy=cost, horizon=2, num_samples=5, num_iterations=40, lr=0.15
    )
    plan = planner.plan(torch.zeros(1, 4), torch.zeros(1, 3, 4), generators=make_generators([4]))
    centre, half = (np.array(high) + low) / 2, (np.array(high) - low) / 2
    first = (plan.iterations[0].samples[0].double().numpy() - centre) / half
    in_half_widths = weight.double().numpy() * half**2, (bottom.double().numpy() - centre) / half
    expected = numpy_adam(first, *in_half_widths, lr=0.15, steps=40)
    for t, position in zip(plan.iterations, expected, strict=True):
        np.testing.assert_allclose((t.samples[0].numpy() - centre) / half, position, atol=2e-5)
    assert bool((plan.iterations[-1].samples[..., 1] == 0.5).all())  # against the wall


def test_the_last_step_counts() -> None:
    # Adam's first step is as long as its rate, against the gradient.
    planner = GradientDescent(
        PointWorld([-2.0], [2.0]),
        energy=ActionCost(lambda actions: (actions - 1.5).square().sum((-1, -2))),
        num_samples=1,
        num_iterations=1,
        lr=0.1,
    )
    plan = planner.plan(*ONE, generators=make_generators([0]))
    assert plan.iterations[0].samples.item() == 0.0
    assert plan.actions.item() == pytest.approx(0.2)  # 0.1 half-widths
    assert plan.energy.item() == pytest.approx(1.3**2)


def test_the_plan_is_the_best_restart_after_the_last_step() -> None:
    world = WatchedWorld([-1.0], [1.0])
    cost = ActionCost(lambda actions: (actions - 2.0).square().sum((-1, -2)))
    planner = GradientDescent(world, energy=cost, num_samples=7, num_iterations=3, lr=0.01)
    plan = planner.plan(*ONE, generators=make_generators([0]))
    iterates = [actions.flatten() for actions in world.seen]
    assert [len(position) for position in iterates] == [7] * 4
    # All go up, and none comes as far as the wall at 1.
    assert all(
        bool((after > before).all()) for before, after in zip(iterates[:-1], iterates[1:], strict=True)
    )
    assert plan.actions.item() == iterates[-1].max().item() < 1.0
    assert plan.energy < plan.iterations[-1].best_energy


def test_the_first_restart_starts_at_the_centre_and_the_others_at_random() -> None:
    planner = GradientDescent(PointWorld([-1.0], [3.0]), energy=GoalL1(), num_samples=200, num_iterations=1)
    samples = planner.plan(*ONE, generators=make_generators([0])).iterations[0].samples.flatten()
    assert samples[0] == 1.0
    counts = torch.histc(samples[1:], bins=4, min=-1.0, max=3.0)
    assert counts.min() > 30  # of 50 in each quarter


def test_every_restart_continues() -> None:
    plan = GradientDescent(PointWorld([-1.0], [1.0]), energy=GoalL1()).plan(
        *ONE, generators=make_generators([0])
    )
    assert all(bool(t.selected.all()) for t in plan.iterations)
    apart = [t.spread.item() for t in plan.iterations]
    assert apart[0] > 0.3 > 0.1 > apart[-1]  # they end in the one minimum


def test_a_restart_without_a_finite_energy_stops_and_the_others_continue() -> None:
    def cost(actions: Tensor) -> Tensor:
        at = actions[..., 0, 0]
        return (at + 0.3).square() + 0.0 * (0.5 - at).sqrt()  # NaN above 0.5, and so is its gradient

    planner = GradientDescent(
        PointWorld([-1.0], [1.0]), energy=ActionCost(cost), num_samples=20, num_iterations=60
    )
    plan = planner.plan(*ONE, generators=make_generators([0]))
    first, last = (plan.iterations[i].samples.flatten() for i in (0, -1))
    lost = first > 0.5
    assert 0 < lost.sum() < 20
    assert torch.equal(last[lost], first[lost])
    assert (last[~lost] + 0.3).abs().max() < 0.05
    assert plan.energy.item() < 1e-4


def test_a_deadline_within_an_iteration_leaves_the_remaining_restarts_unchanged() -> None:
    world = WatchedWorld([-1.0], [1.0], pause_s=0.001)
    planner = GradientDescent(world, energy=GoalL1(), num_samples=8, slice_size=3)
    plan = planner.plan(*ONE, generators=make_generators([0]), deadline_s=1e-9)
    assert [a.shape[1] for a in world.seen] == [3]
    assert plan.iterations[0].energies[0].isfinite().tolist() == [True] * 3 + [False] * 5


def test_inference_mode_is_refused() -> None:
    planner = GradientDescent(PointWorld([-1.0], [1.0]), energy=GoalL1())
    with (
        torch.inference_mode(),
        pytest.raises(PlannerError, match=r"under torch\.inference_mode.*torch\.no_grad"),
    ):
        planner.plan(*ONE, generators=make_generators([0]))
    with torch.no_grad():
        assert planner.plan(*ONE, generators=make_generators([0])).energy.item() < 0.01


class WithoutGraph(PointWorld):
    @torch.no_grad()
    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        return super().rollout(context, actions)


class Detaching(PointWorld):
    """A model whose weights have a gradient, but whose actions have none."""

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        return super().rollout(context, actions.detach()) * torch.ones((), requires_grad=True)


@pytest.mark.parametrize("kind", [WithoutGraph, Detaching])
def test_a_world_whose_rollout_has_no_gradient_is_refused(kind: type[PointWorld]) -> None:
    planner = GradientDescent(kind([-1.0], [1.0]), energy=GoalL1())
    with pytest.raises(
        PlannerError, match="world model whose rollout keeps the graph.*Choose another planner"
    ):
        planner.plan(*ONE, generators=make_generators([0]))


def test_the_models_weights_get_no_gradient() -> None:
    world = PointWorld([-1.0], [1.0])
    world.weights.requires_grad_()
    GradientDescent(world, energy=GoalL1()).plan(*ONE, generators=make_generators([0]))
    assert world.weights.grad is None


def test_its_rate_is_checked_at_construction() -> None:
    with pytest.raises(PlannerError, match=r"lr is -0\.1; allowed is a finite number above 0"):
        GradientDescent(PointWorld([-1.0], [1.0]), energy=GoalL1(), lr=-0.1)
