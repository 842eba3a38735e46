from __future__ import annotations

import pytest
import torch

from planners import GoalL1, PlannerError, PredictiveSampling, make_generators
from tests.planners.worlds import PointWorld, WatchedWorld


def test_each_iteration_draws_around_the_best_of_the_last() -> None:
    world = WatchedWorld([-100.0] * 2, [100.0] * 2)  # a wide box clips nothing
    goal = world.features(torch.tensor([[3.0, -2.0]]))
    planner = PredictiveSampling(
        world, energy=GoalL1(), horizon=3, num_samples=20, num_iterations=5, initial_std=0.01
    )
    plan = planner.plan(torch.zeros(1, 2), goal, generators=make_generators([3]))
    [generator] = make_generators([3])
    nominal = torch.zeros(3, 2)
    for i, t in enumerate(plan.iterations):
        noise = torch.randn(20, 3, 2, generator=generator)
        first = 1 if i == 0 else 0  # the very first sample is the nominal plan
        torch.testing.assert_close(t.samples[0, first:20], nominal + noise[first:])
        assert torch.equal(t.samples[0, 0 if i == 0 else 20], nominal)
        assert t.selected.sum() == 1
        [nominal] = t.samples[t.selected]
        assert t.energies[t.selected] == t.best_energy
        assert t.spread.item() == pytest.approx(0.01)
    assert torch.equal(plan.actions[0], nominal)
    assert [actions.shape[1] for actions in world.seen] == [20] * 5  # the nominal is not imagined again
    best = [t.best_energy.item() for t in plan.iterations]
    assert best == sorted(best, reverse=True)


def test_the_nominal_plan_is_returned_if_no_sample_is_better() -> None:
    world = PointWorld([-1.0] * 3, [1.0] * 3)
    planner = PredictiveSampling(world, energy=GoalL1(1.0), horizon=2, num_samples=5, num_iterations=2)
    here = torch.tensor([[0.3, -0.2, 0.1]])
    plan = planner.plan(here, world.features(here), generators=make_generators([0]))
    assert torch.equal(plan.actions, torch.zeros(1, 2, 3))


def test_its_width_is_checked_at_construction() -> None:
    with pytest.raises(PlannerError, match=r"initial_std is 0\.0; allowed is a finite number above 0"):
        PredictiveSampling(PointWorld([-1.0], [1.0]), energy=GoalL1(), initial_std=0.0)
