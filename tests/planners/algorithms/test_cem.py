from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import CEM, GoalL1, PlannerError, make_generators
from tests.planners.worlds import ActionCost, PointWorld, slow_energy


def test_answer_best_avoids_the_bad_mean_of_two_equal_modes() -> None:
    def two_equal_wells(actions: Tensor) -> Tensor:
        return (actions[..., 0, 0].abs() - 0.6).abs()

    energies = {}
    for answer in ("best", "mean"):
        planner = CEM(
            PointWorld([-1.0], [1.0]),
            energy=ActionCost(two_equal_wells),
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
    low, high, weights, x0, target = (
        t.double().tolist() for t in (world.action_low, world.action_high, world.weights, start, goal)
    )
    eps = noise.double().numpy()
    mean = np.array([[(low[a] + high[a]) / 2 for a in range(size)] for _ in range(steps)])
    std = np.array([[(high[a] - low[a]) / 2 for a in range(size)] for _ in range(steps)])
    for i in range(iterations):
        scored = []
        for s in range(samples):
            actions = np.zeros((steps, size))
            for k in range(steps):
                for a in range(size):
                    actions[k, a] = min(max(mean[k, a] + std[k, a] * eps[i, s, k, a], low[a]), high[a])
            scored.append((slow_energy(weights, x0, target, actions.tolist()), s, actions))
        chosen = [actions for _, _, actions in sorted(scored, key=lambda item: item[:2])[:elites]]
        for k in range(steps):
            for a in range(size):
                values = [float(actions[k, a]) for actions in chosen]
                centre = sum(values) / elites
                deviation = (sum((v - centre) ** 2 for v in values) / (elites - 1)) ** 0.5
                mean[k, a] = (1 - keep_mean[a]) * centre + keep_mean[a] * mean[k, a]
                std[k, a] = (1 - keep_std[a]) * deviation + keep_std[a] * std[k, a]
    return mean


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_plan_equals_that_of_a_reference_implementation(steps: int) -> None:
    world = PointWorld([-0.075, -0.075, -0.075, -0.75], [0.075, 0.075, 0.075, 0.75])
    start, goal = torch.tensor([[0.3, -0.2, 0.1, 0.0]]), torch.tensor([[0.42, -0.21, 0.05, 0.9]])
    iterations, samples, elites = 6, 50, 8
    keep_mean, keep_std = [0.15] * 4, [0.75, 0.75, 0.75, 0.15]
    [generator] = make_generators([11])
    noise = torch.stack([torch.randn(samples, steps, 4, generator=generator) for _ in range(iterations)])
    expected = slow_published_cem(
        world, start[0], world.features(goal)[0], noise, elites, keep_mean, keep_std
    )
    planner = CEM(
        world,
        energy=GoalL1(),
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


def test_the_recorded_iterations_converge() -> None:
    world = PointWorld([-1.0, -1.0], [1.0, 1.0])
    goal = world.features(torch.tensor([[0.31, -0.47]]))
    planner = CEM(
        world,
        energy=GoalL1(),
        num_samples=100,
        num_iterations=10,
        num_elites=10,
        momentum_mean=0.15,
        momentum_std=0.2,
    )
    plan = planner.plan(torch.zeros(1, 2), goal, generators=make_generators([0]))
    assert len(plan.iterations) == 10
    assert plan.iterations[0].spread.item() == 1.0
    assert plan.iterations[-1].spread < 0.01 < plan.iterations[0].spread
    assert plan.iterations[-1].mean_energy < 0.05 * plan.iterations[0].mean_energy
    assert all(t.best_energy <= t.mean_energy for t in plan.iterations)
    assert plan.energy <= min(t.best_energy.item() for t in plan.iterations)


def test_a_mean_without_a_finite_energy_is_not_returned() -> None:
    def two_wells_with_nothing_between(actions: Tensor) -> Tensor:
        at = actions[..., 0, 0]
        return torch.where(at.abs() < 0.3, torch.nan, (at.abs() - 0.6).abs())

    planner = CEM(
        PointWorld([-1.0], [1.0]),
        energy=ActionCost(two_wells_with_nothing_between),
        num_samples=200,
        num_iterations=1,
        num_elites=40,
        answer="mean",
    )
    plan = planner.plan(torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]))
    assert plan.energy == plan.iterations[0].best_energy


def test_a_warm_start_moves_the_search() -> None:
    # Too narrow a search to cross the box in one iteration: only the warm one is near the goal.
    world = PointWorld([-1.0], [1.0])
    goal = world.features(torch.tensor([[0.9]]))
    planner = CEM(world, energy=GoalL1(), num_samples=20, num_iterations=1, num_elites=5, initial_std=0.05)
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
        energy=ActionCost(sliver),
        num_samples=60,
        num_iterations=1,
        num_elites=50,
        momentum_mean=0.0,
        answer="mean",
    )
    plan = planner.plan(torch.zeros(1, 1), torch.zeros(1, 3, 1), generators=make_generators([0]))
    assert plan.actions.item() > 0.85  # the mean of the remaining samples, not the lowest one
    assert plan.iterations[0].mean_energy.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 5, "num_elites": 6}, r"num_elites is 6; .* at most num_samples=5"),
        ({"momentum_mean": -0.1}, r"momentum_mean is -0\.1; allowed is a number in \[0, 1\]"),
        ({"momentum_std": [0.1, 0.2, 0.3]}, r"momentum_std is \(0\.1, 0\.2, 0\.3\).* model's 1 action axes"),
        ({"initial_std": 0.0}, r"initial_std is 0\.0; allowed is a finite number above 0"),
        ({"answer": "median"}, r"answer is 'median'; allowed are 'best', 'mean'"),
    ],
)
def test_arguments_are_checked_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        CEM(PointWorld([-1.0], [1.0]), energy=GoalL1(), **arguments)


def test_the_next_iteration_is_fitted_to_the_recorded_elites() -> None:
    # A wide box that clips nothing, and no momentum: the noise that each iteration drew gives away mean and width.
    horizon, samples, elites = 2, 30, 6
    world = PointWorld([-100.0, -100.0], [100.0, 100.0])
    planner = CEM(
        world,
        energy=GoalL1(),
        horizon=horizon,
        num_samples=samples,
        num_iterations=3,
        num_elites=elites,
        momentum_mean=0.0,
        momentum_std=0.0,
        initial_std=0.01,
    )
    goal = world.features(torch.tensor([[0.7, -0.4]]))
    plan = planner.plan(torch.zeros(1, 2), goal, generators=make_generators([3]))
    [generator] = make_generators([3])
    noise = [torch.randn(samples, horizon, 2, generator=generator) for _ in range(3)]
    for before, after, drawn in zip(plan.iterations[:-1], plan.iterations[1:], noise[1:], strict=True):
        best = before.energies[0].argsort()[:elites]
        assert sorted(best.tolist()) == before.selected[0].nonzero().flatten().tolist()
        chosen = before.samples[0][before.selected[0]]
        torch.testing.assert_close(after.samples[0], chosen.mean(dim=0) + chosen.std(dim=0) * drawn)
