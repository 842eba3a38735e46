from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import CEM, GoalL1, PlannerError, make_generators
from tests.planners.worlds import ActionCost, LinearWorld, PointWorld

ZERO_GOAL = torch.zeros(1, 1, 4)


class QuadraticCost:
    """sum_k x_k' Q x_k + u_k' R u_k, with Q and R diagonal."""

    def __init__(self, q: list[float], r: list[float]) -> None:
        self.q, self.r = torch.tensor(q), torch.tensor(r)

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        error = predicted[:, :, :, 0] - goal[:, None]
        return (self.q * error.square()).sum((-1, -2)) + (self.r * actions.square()).sum((-1, -2))


def lqr_cost(start: np.ndarray, dt_s: float, steps: int, q: list[float], r: list[float]) -> float:
    """Return the least cost sum_{k=1..K} x_k'Q x_k + u_{k-1}'R u_{k-1}, by the Riccati recursion."""
    eye, zero = np.eye(2), np.zeros((2, 2))
    a, b = np.block([[eye, dt_s * eye], [zero, eye]]), np.vstack([zero, dt_s * eye])
    cost_to_go = np.diag(q)
    for _ in range(steps):
        gain = np.linalg.solve(np.diag(r) + b.T @ cost_to_go @ b, b.T @ cost_to_go @ a)
        value = a.T @ cost_to_go @ (a - b @ gain)
        cost_to_go = value + np.diag(q)
    return float(start @ value @ start)


def test_lqr_within_one_percent_of_the_analytic_cost() -> None:
    q, r, steps = [1.0, 2.0, 0.3, 0.1], [0.2, 0.5], 5
    world = LinearWorld([-3.0, -3.0], [3.0, 3.0])
    start = torch.tensor([[1.0, -0.7, 0.2, 0.4]])
    planner = CEM(
        world,
        objective=QuadraticCost(q, r),
        horizon=steps,
        num_samples=400,
        num_iterations=40,
        num_elites=40,
        momentum_mean=0.1,
        momentum_std=0.3,
    )
    plan = planner.plan(start, ZERO_GOAL, generators=make_generators([0]))
    optimum = lqr_cost(start[0].double().numpy(), world.dt_s, steps, q, r)
    assert plan.actions.abs().max() < 2.9  # the box is not in the way, so the analytic cost applies
    assert optimum <= plan.energy.item() * (1 + 1e-5)
    assert plan.energy.item() <= 1.01 * optimum


def test_the_better_of_two_modes_is_found() -> None:
    def two_wells(actions: Tensor) -> Tensor:
        at = actions[..., 0, 0]
        return torch.minimum(10 * (at + 0.6).square() + 0.2, 10 * (at - 0.6).square())

    world = PointWorld([-1.0], [1.0])
    planner = CEM(world, objective=ActionCost(two_wells), num_samples=100, num_elites=10)
    plan = planner.plan(
        torch.zeros(8, 1), torch.zeros(8, 3, 1), generators=make_generators(list(range(8))), warm_start=None
    )
    assert (plan.actions[:, 0, 0] - 0.6).abs().max() < 0.02


def test_best_answer_is_not_the_bad_mean_of_two_equal_modes() -> None:
    def two_equal_wells(actions: Tensor) -> Tensor:
        return (actions[..., 0, 0].abs() - 0.6).abs()

    energies = {}
    for answer in ("best", "mean"):
        planner = CEM(
            PointWorld([-1.0], [1.0]),
            objective=ActionCost(two_equal_wells),
            num_samples=200,
            num_iterations=1,
            num_elites=40,
            answer=answer,
        )
        plan = planner.plan(torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]))
        energies[answer] = plan.energy.item()
    assert energies["best"] < 0.02
    assert energies["mean"] > 0.3


def slow_published_cem(
    world: PointWorld,
    start: Tensor,
    goal: Tensor,
    noise: Tensor,
    elites: int,
    keep_mean: list[float],
    keep_std: list[float],
) -> np.ndarray:
    """The published planner, one number at a time, in float64, with noise `[I, S, K, A]`: `[K, A]`."""
    iterations, samples, steps, size = noise.shape
    low, high, weights = (t.double().numpy() for t in (world.action_low, world.action_high, world.weights))
    x0, target, eps = start.double().numpy(), goal.double().numpy(), noise.double().numpy()
    mean = np.array([[(low[a] + high[a]) / 2 for a in range(size)] for _ in range(steps)])
    std = np.array([[(high[a] - low[a]) / 2 for a in range(size)] for _ in range(steps)])
    for i in range(iterations):
        scored = []
        for s in range(samples):
            actions = np.zeros((steps, size))
            position = [float(x) for x in x0]
            for k in range(steps):
                for a in range(size):
                    actions[k, a] = min(max(mean[k, a] + std[k, a] * eps[i, s, k, a], low[a]), high[a])
                    position[a] += actions[k, a]
            distances = [
                abs(w * position[a] - target[n, a]) for n, w in enumerate(weights) for a in range(size)
            ]
            scored.append((sum(distances) / len(distances), s, actions))
        chosen = [actions for _, _, actions in sorted(scored, key=lambda item: item[:2])[:elites]]
        for k in range(steps):
            for a in range(size):
                values = [float(actions[k, a]) for actions in chosen]
                centre = sum(values) / elites
                deviation = (sum((v - centre) ** 2 for v in values) / (elites - 1)) ** 0.5
                mean[k, a] = (1 - keep_mean[a]) * centre + keep_mean[a] * mean[k, a]
                std[k, a] = (1 - keep_std[a]) * deviation + keep_std[a] * std[k, a]
    return mean


def test_a_slow_transcription_of_the_published_planner_gives_the_same_plan() -> None:
    world = PointWorld([-0.075, -0.075, -0.075, -0.75], [0.075, 0.075, 0.075, 0.75])
    start, goal = torch.tensor([[0.3, -0.2, 0.1, 0.0]]), torch.tensor([[0.42, -0.21, 0.05, 0.9]])
    iterations, samples, steps, elites = 6, 50, 2, 8
    keep_mean, keep_std = [0.15] * 4, [0.75, 0.75, 0.75, 0.15]
    [generator] = make_generators([11])
    noise = torch.stack([torch.randn(samples, steps, 4, generator=generator) for _ in range(iterations)])
    expected = slow_published_cem(
        world, start[0], world.features(goal)[0], noise, elites, keep_mean, keep_std
    )
    planner = CEM(
        world,
        objective=GoalL1(),
        horizon=steps,
        num_samples=samples,
        num_iterations=iterations,
        num_elites=elites,
        momentum_mean=keep_mean,
        momentum_std=keep_std,
        answer="mean",
    )
    plan = planner.plan(start, world.features(goal), generators=make_generators([11]))
    np.testing.assert_allclose(plan.actions[0].numpy(), expected, atol=1e-6)


def test_the_trace_shows_the_search_closing_in() -> None:
    world = PointWorld([-1.0, -1.0], [1.0, 1.0])
    goal = world.features(torch.tensor([[0.31, -0.47]]))
    planner = CEM(world, objective=GoalL1(), num_samples=100, num_elites=10, momentum_std=0.2)
    plan = planner.plan(torch.zeros(1, 2), goal, generators=make_generators([0]))
    assert len(plan.trace) == 10
    assert plan.trace[0].spread.item() == 1.0
    assert plan.trace[-1].spread < 0.01 < plan.trace[0].spread
    assert plan.trace[-1].mean_energy < 0.05 * plan.trace[0].mean_energy
    assert all(t.best_energy <= t.mean_energy for t in plan.trace)
    assert plan.energy <= min(t.best_energy.item() for t in plan.trace)


def test_a_warm_start_moves_the_search() -> None:
    # Too narrow a search to cross the box in one iteration: only the warm one is near the goal.
    world = PointWorld([-1.0], [1.0])
    goal = world.features(torch.tensor([[0.9]]))
    planner = CEM(world, objective=GoalL1(), num_samples=20, num_iterations=1, num_elites=5, initial_std=0.05)
    cold = planner.plan(torch.zeros(1, 1), goal, generators=make_generators([0]))
    warm = planner.plan(
        torch.zeros(1, 1), goal, generators=make_generators([0]), warm_start=torch.full((1, 1, 1), 0.9)
    )
    assert warm.energy < 0.1
    assert cold.energy > 0.5


def test_few_finite_samples_are_the_only_elites() -> None:
    # Only a sliver of the box has an energy; a planner that filled its elites with diverged samples
    # would pull the mean out of it, where its energy is NaN.
    def sliver(actions: Tensor) -> Tensor:
        at = actions[..., 0, 0]
        return torch.where(at > 0.8, at, torch.nan)

    planner = CEM(
        PointWorld([-1.0], [1.0]),
        objective=ActionCost(sliver),
        num_samples=60,
        num_iterations=1,
        num_elites=50,
        momentum_mean=0.0,
        answer="mean",
    )
    plan = planner.plan(torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]))
    assert plan.actions.item() > 0.85  # the mean of what is left, not its lowest sample
    assert plan.trace[0].mean_energy.isfinite().all()


class SlowWorld(PointWorld):
    step_s = 0.02

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        time.sleep(self.step_s)
        return super().rollout(context, actions)


def test_the_deadline_ends_the_search_with_the_best_so_far() -> None:
    world = SlowWorld([-1.0], [1.0])
    goal = world.features(torch.tensor([[0.5]]))
    planner = CEM(world, objective=GoalL1(), num_samples=50, num_iterations=1000, num_elites=5)
    started = time.perf_counter()
    plan = planner.plan(torch.zeros(1, 1), goal, generators=make_generators([0]), deadline_s=0.3)
    elapsed_s = time.perf_counter() - started
    assert elapsed_s < 2.0  # 1000 iterations would take 20 s
    assert 1 <= len(plan.trace) <= 15
    assert plan.energy <= min(t.best_energy.item() for t in plan.trace)


def test_even_a_hopeless_deadline_gives_a_plan() -> None:
    world = SlowWorld([-1.0], [1.0])
    planner = CEM(world, objective=GoalL1(), num_samples=50, num_elites=5)
    plan = planner.plan(
        torch.zeros(1, 1), world.features(torch.ones(1, 1)), generators=make_generators([0]), deadline_s=1e-6
    )
    assert len(plan.trace) == 1
    assert plan.energy.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"horizon": 0}, r"horizon is 0; allowed is a whole number of at least 1"),
        ({"num_samples": 5, "num_elites": 6}, r"num_elites is 6; .* at most num_samples=5"),
        ({"num_iterations": 2.5}, r"num_iterations is 2\.5; allowed is a whole number"),
        ({"momentum_mean": -0.1}, r"momentum_mean is -0\.1; allowed is a number in \[0, 1\]"),
        ({"momentum_std": [0.1, 0.2, 0.3]}, r"momentum_std is \[0\.1, 0\.2, 0\.3\].* model's 1 action axes"),
        ({"initial_std": 0.0}, r"initial_std is 0\.0; allowed is a finite number above 0"),
        ({"answer": "median"}, r"answer is 'median'; allowed are 'best', 'mean'"),
    ],
)
def test_arguments_are_checked_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        CEM(PointWorld([-1.0], [1.0]), objective=GoalL1(), **arguments)


@pytest.mark.parametrize(("low", "high"), [([1.0], [-1.0]), ([-1.0], [float("inf")]), ([-1.0, -1.0], [1.0])])
def test_bounds_that_are_no_box_are_refused(low: list[float], high: list[float]) -> None:
    with pytest.raises(PlannerError, match="two finite vectors of the same length with low <= high"):
        CEM(PointWorld(low, high), objective=GoalL1())


def test_a_deadline_that_is_not_positive_is_refused() -> None:
    world = PointWorld([-1.0], [1.0])
    with pytest.raises(PlannerError, match="deadline_s is 0; allowed is None or a time"):
        CEM(world, objective=GoalL1()).plan(
            torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]), deadline_s=0
        )


def test_the_mean_of_frozen_values_keeps_them_exactly() -> None:
    # The mean of seven equal numbers may round to a neighbour of theirs, outside a box that is one point.
    values = [0.1 * i + 0.013 for i in range(30)]
    world = PointWorld(values, values)
    planner = CEM(world, objective=GoalL1(), num_samples=20, num_elites=7, answer="mean")
    plan = planner.plan(torch.zeros(1, 30), torch.zeros(1, 3, 30), generators=make_generators([0]))
    assert torch.equal(plan.actions[0, 0], torch.tensor(values))
