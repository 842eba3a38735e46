from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import MPPI, GoalL1, PlannerError, make_generators
from tests.planners.worlds import ActionCost, PointWorld, WatchedWorld, slow_energy

ONE = (torch.zeros(1, 1), torch.zeros(1, 3, 1))
"""Context and goal of one problem for costs that look at actions only."""


def slow_published_mppi(
    world: PointWorld, start: Tensor, goal: Tensor, noise: np.ndarray, temperature: float, std: float
) -> np.ndarray:
    """Algorithm 2 of the paper without a control cost, one number at a time, in float64, noise `[I, S, K, A]`.

    Controls v = u + eps are clipped, and eps is what is left of it: u <- u + sum_s w_s eps_s.
    """
    iterations, samples, steps, size = noise.shape
    low, high, weights, x0, target = (
        t.double().tolist() for t in (world.action_low, world.action_high, world.weights, start, goal)
    )
    entries = [(k, a) for k in range(steps) for a in range(size)]
    u = np.zeros((steps, size))
    for k, a in entries:
        u[k, a] = (low[a] + high[a]) / 2
    for i in range(iterations):
        eps, costs = np.zeros((samples, steps, size)), []
        for s in range(samples):
            for k, a in entries:
                v = u[k, a] + std * (high[a] - low[a]) / 2 * noise[i, s, k, a]
                eps[s, k, a] = min(max(v, low[a]), high[a]) - u[k, a]
            costs.append(slow_energy(weights, x0, target, (u + eps[s]).tolist()))
        least = min(costs)
        total = sum(math.exp(-(cost - least) / temperature) for cost in costs)
        share = [math.exp(-(cost - least) / temperature) / total for cost in costs]
        for k, a in entries:
            u[k, a] += sum(share[s] * eps[s, k, a] for s in range(samples))
    return u


@pytest.mark.parametrize("steps", [1, 3])
def test_the_mean_equals_that_of_a_reference_implementation(steps: int) -> None:
    world = WatchedWorld([-0.075, -0.03, -0.75], [0.075, 0.06, 0.75])
    start, goal = torch.tensor([[0.3, -0.2, 0.0]]), world.features(torch.tensor([[0.48, -0.23, 0.9]]))
    [generator] = make_generators([11])
    noise = torch.stack([torch.randn(40, steps, 3, generator=generator) for _ in range(5)]).double().numpy()
    expected = slow_published_mppi(world, start[0], goal[0], noise, temperature=0.02, std=0.8)
    planner = MPPI(
        world,
        energy=GoalL1(),
        horizon=steps,
        num_samples=40,
        num_iterations=5,
        temperature=0.02,
        temperature_of="energy",
        initial_std=0.8,
        std_decay=1.0,
    )
    planner.plan(start, goal, generators=make_generators([11]))
    last = world.seen[-1]  # the mean is imagined when the iterations are over
    assert last.shape == (1, 1, steps, 3)
    np.testing.assert_allclose(last[0, 0].numpy(), expected, atol=1e-6)


def mean_after_one_iteration(cost: ActionCost, **settings: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Return the samples `[S]` of one iteration, which of them were chosen, and the mean made from them."""
    asked: list[Tensor] = []

    def watched(actions: Tensor) -> Tensor:
        asked.append(actions)
        return cost.cost(actions)

    planner = MPPI(
        PointWorld([-1.0], [1.0]), energy=ActionCost(watched), num_samples=50, num_iterations=1, **settings
    )
    [only] = planner.plan(*ONE, generators=make_generators([0])).iterations
    return only.samples.flatten(), only.selected[0], asked[-1].flatten()


def test_the_default_temperature_does_not_depend_on_the_unit_of_the_energy() -> None:
    def metres(actions: Tensor) -> Tensor:
        return (actions[..., 0, 0] - 0.4).abs()

    def kilometres(actions: Tensor) -> Tensor:
        return 1e-3 * metres(actions) + 7.0

    means = [mean_after_one_iteration(ActionCost(cost))[2] for cost in (metres, kilometres)]
    torch.testing.assert_close(means[0], means[1], rtol=1e-3, atol=0.0)
    absolute = [
        mean_after_one_iteration(ActionCost(c), temperature_of="energy")[2] for c in (metres, kilometres)
    ]
    assert abs(absolute[0] - absolute[1]) > 0.1


def test_temperatures_interpolate_between_the_best_sample_and_the_mean() -> None:
    cost = ActionCost(lambda actions: (actions[..., 0, 0] - 0.4).abs())
    samples, chosen, cold = mean_after_one_iteration(cost, temperature=1e-4)
    best = samples[(samples - 0.4).abs().argmin()]
    torch.testing.assert_close(cold[0], best)
    assert torch.equal(chosen, samples == best)
    samples, _, hot = mean_after_one_iteration(cost, temperature=1e4)
    torch.testing.assert_close(hot[0], samples.mean(), rtol=1e-3, atol=1e-4)


def test_the_recorded_elites_have_more_than_the_mean_weight() -> None:
    cost = ActionCost(lambda actions: (actions[..., 0, 0] - 0.4).abs())
    samples, chosen, mean = mean_after_one_iteration(cost, temperature=0.05, temperature_of="energy")
    energy = (samples.double() - 0.4).abs().numpy()
    weights = np.exp(-energy / 0.05) / np.exp(-energy / 0.05).sum()
    assert chosen.tolist() == (weights > 1 / 50).tolist()
    np.testing.assert_allclose(mean.numpy(), [(weights * samples.double().numpy()).sum()], rtol=1e-5)


@pytest.mark.parametrize("exact", [True, False], ids=["denormals", "flushed"])
def test_equal_energies_give_the_unweighted_mean(exact: bool) -> None:
    # Where numbers below the smallest normal one are zero, as on most accelerators, a floor there divides by it.
    cost = ActionCost(lambda actions: torch.full(actions.shape[:2], 2.0))
    torch.set_flush_denormal(not exact)
    try:
        samples, _, mean = mean_after_one_iteration(cost)
    finally:
        torch.set_flush_denormal(False)
    torch.testing.assert_close(mean[0], samples.mean())


def test_the_standard_deviation_shrinks_as_configured() -> None:
    cost = ActionCost(lambda actions: actions.square().sum((-1, -2)))
    for decay, expected in ((1.0, [0.4] * 4), (0.5, [0.4, 0.2, 0.1, 0.05])):
        planner = MPPI(
            PointWorld([-1.0], [1.0]),
            energy=cost,
            num_samples=256,
            num_iterations=4,
            initial_std=0.4,
            std_decay=decay,
        )
        plan = planner.plan(*ONE, generators=make_generators([0]))
        torch.testing.assert_close(torch.cat([t.spread for t in plan.iterations]), torch.tensor(expected))
        drawn = torch.stack([t.samples.std() for t in plan.iterations])
        torch.testing.assert_close(drawn, torch.tensor(expected), rtol=0.15, atol=0.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"temperature": 0.0}, r"temperature is 0\.0; allowed is a finite number above 0"),
        ({"temperature_of": "mean"}, r"temperature_of is 'mean'; allowed are 'spread', 'energy'"),
        ({"std_decay": 1.1}, r"std_decay is 1\.1; allowed is a number above 0 and at most 1"),
        ({"initial_std": float("inf")}, r"initial_std is inf; allowed is a finite number above 0"),
    ],
)
def test_arguments_are_checked_at_construction(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        MPPI(PointWorld([-1.0], [1.0]), energy=GoalL1(), **arguments)
