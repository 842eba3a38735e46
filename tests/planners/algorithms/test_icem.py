from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import ICEM, GoalL1, Plan, PlannerError, RecedingHorizon, make_generators, shift
from planners.sampling import coloured_noise
from tests.planners.worlds import ActionCost, PointWorld, WatchedWorld, slow_energy

LOW, HIGH = [-0.075, -0.03, -0.75], [0.075, 0.06, 0.75]
START, TARGET = torch.tensor([[0.3, -0.2, 0.0]]), torch.tensor([[0.48, -0.23, 0.9]])


def solve(world: PointWorld, **settings: Any) -> Plan:
    settings = {"horizon": 4, "num_samples": 50, "num_iterations": 6, "num_elites": 8} | settings
    planner = ICEM(world, energy=GoalL1(), **settings)
    return planner.plan(START, world.features(TARGET), generators=make_generators([11]))


def slow_published_icem(
    world: PointWorld,
    noise: list[np.ndarray],
    elites: int,
    kept: int,
    keep_mean: float,
    keep_std: float,
    std: float,
) -> np.ndarray:
    """Algorithm 1 of the paper, one number at a time, in float64: the last mean, `[K, A]`.

    Args:
        world: What imagines.
        noise: Of each iteration, `[S, K, A]`.
        elites: Samples refitted to.
        kept: Of these, how many compete again.
        keep_mean: Share of the old mean.
        keep_std: Share of the old standard deviation.
        std: First standard deviation, in half-widths.
    """
    low, high, weights, start, goal = (
        t.double().tolist()
        for t in (world.action_low, world.action_high, world.weights, START[0], world.features(TARGET)[0])
    )
    steps, size = noise[0].shape[1:]
    entries = [(k, a) for k in range(steps) for a in range(size)]
    mean, width = np.zeros((steps, size)), np.zeros((steps, size))
    for k, a in entries:
        mean[k, a], width[k, a] = (low[a] + high[a]) / 2, std * (high[a] - low[a]) / 2
    elite: list[tuple[float, np.ndarray]] = []
    for drawn in noise:
        pool = elite[:kept]
        for one in drawn:
            actions = np.zeros((steps, size))
            for k, a in entries:
                actions[k, a] = min(max(mean[k, a] + width[k, a] * one[k, a], low[a]), high[a])
            pool.append((slow_energy(weights, start, goal, actions.tolist()), actions))
        elite = sorted(pool, key=lambda item: item[0])[:elites]
        for k, a in entries:
            values = [float(actions[k, a]) for _, actions in elite]
            centre = sum(values) / elites
            deviation = (sum((v - centre) ** 2 for v in values) / (elites - 1)) ** 0.5
            mean[k, a] = keep_mean * mean[k, a] + (1 - keep_mean) * centre
            width[k, a] = keep_std * width[k, a] + (1 - keep_std) * deviation
    return mean


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_the_mean_equals_that_of_a_reference_implementation(exponent: float) -> None:
    world, iterations, elites, decay = WatchedWorld(LOW, HIGH), 6, 8, 1.25
    generators, like = make_generators([11]), torch.zeros(1, 4, 3)
    sizes = [max(math.floor(50 * decay**-i), 2 * elites) for i in range(iterations)]
    noise = [coloured_noise(like, size, generators, exponent)[0].double().numpy() for size in sizes]
    expected = slow_published_icem(world, noise, elites, kept=2, keep_mean=0.1, keep_std=0.3, std=0.7)
    settings = {"reused_elites": 0.3, "momentum_mean": 0.1, "momentum_std": 0.3, "initial_std": 0.7}
    solve(world, noise_exponent=exponent, sample_decay=decay, num_elites=elites, **settings)
    last = world.seen[-1]  # the mean is imagined when the iterations are over
    assert last.shape == (1, 1, 4, 3)
    np.testing.assert_allclose(last[0, 0].numpy(), expected, atol=1e-6)


def test_fewer_samples_are_drawn_and_reused_elites_are_not_evaluated_again() -> None:
    world = WatchedWorld(LOW, HIGH)
    plan = solve(world, num_samples=64, num_iterations=8, num_elites=8, reused_elites=0.5)
    # max(64 / 1.25^i, 2 * 8), rounded down; and the mean at the end.
    drawn = [64, 51, 40, 32, 26, 20, 16, 16]
    assert [actions.shape[1] for actions in world.seen] == [*drawn, 1]
    assert [t.samples.shape[1] for t in plan.iterations] == [64, *(count + 4 for count in drawn[1:])]


def test_there_are_never_more_samples_than_num_samples() -> None:
    world = WatchedWorld(LOW, HIGH)
    solve(world, num_samples=10, num_iterations=3, num_elites=8, reused_elites=0.0)
    assert [actions.shape[1] for actions in world.seen] == [10, 10, 10, 1]


def best_of(plan: Plan, iteration: int, count: int) -> Tensor:
    """Return the best samples of an iteration, best first, `[M, K, A]`."""
    t = plan.iterations[iteration]
    return t.samples[0, t.energies[0].argsort()[:count]]


def test_the_best_elites_are_reused_and_stored_for_the_next_search() -> None:
    plan = solve(PointWorld(LOW, HIGH), num_elites=8, reused_elites=0.4)
    for i in range(1, 6):
        assert torch.equal(plan.iterations[i].samples[0, -3:], best_of(plan, i - 1, 3))
        assert plan.iterations[i].selected.sum() == 8
    best = [t.best_energy.item() for t in plan.iterations]
    assert best == sorted(best, reverse=True)  # the best one is never lost
    assert plan.warm_starts is not None
    assert torch.equal(plan.warm_starts[0], best_of(plan, -1, 3))


def test_only_elites_with_a_finite_energy_are_stored() -> None:
    def cost(actions: Tensor) -> Tensor:
        return torch.where(actions[..., 0, 0] > 0.06, actions[..., 0, 2], torch.nan)

    planner = ICEM(
        PointWorld(LOW, HIGH),
        energy=ActionCost(cost),
        num_samples=40,
        num_iterations=1,
        num_elites=20,
        reused_elites=1.0,
    )
    plan = planner.plan(START, torch.zeros(1, 3, 3), generators=make_generators([0]))
    finite = int(plan.iterations[0].energies.isfinite().sum())
    assert 1 < finite < 20
    assert plan.warm_starts is not None
    assert plan.warm_starts.shape == (1, 20, 1, 3)
    best = plan.iterations[0].samples[0, plan.iterations[0].energies[0].argmin()]
    assert torch.equal(plan.warm_starts[0, :finite], best_of(plan, 0, finite))
    assert torch.equal(plan.warm_starts[0, finite:], best.expand(20 - finite, -1, -1))


def test_no_elites_are_reused_with_a_fraction_of_zero() -> None:
    plan = solve(PointWorld(LOW, HIGH), reused_elites=0.0, sample_decay=1.0)
    assert plan.warm_starts is None
    assert [t.samples.shape[1] for t in plan.iterations] == [50] * 6


def test_the_next_search_starts_with_the_shifted_plan_and_elites() -> None:
    world = PointWorld(LOW, HIGH)
    planner = RecedingHorizon(ICEM(world, energy=GoalL1(), horizon=4, num_elites=10, reused_elites=0.3))
    generators = make_generators([0])
    first, second = (planner.plan(START, world.features(TARGET), generators=generators) for _ in range(2))
    assert first.warm_starts is not None
    expected = torch.cat([shift(first.actions)[:, None], shift(first.warm_starts)], dim=1)
    assert expected.shape == (1, 4, 4, 3)
    assert torch.equal(second.iterations[0].samples[:, :4], expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"noise_exponent": -1.0}, r"noise_exponent is -1\.0; allowed is a finite number of at least 0"),
        ({"sample_decay": 0.9}, r"sample_decay is 0\.9; allowed is a finite number of at least 1"),
        ({"reused_elites": 1.5}, r"reused_elites is 1\.5; allowed is a number in \[0, 1\]"),
        ({"num_elites": 33}, r"num_elites is 33; .* at most num_samples=32"),
    ],
)
def test_arguments_are_checked_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        ICEM(PointWorld(LOW, HIGH), energy=GoalL1(), **arguments)
