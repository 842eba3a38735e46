from __future__ import annotations

import torch

from planners import GoalL1, RandomShooting, make_generators
from tests.planners.worlds import PointWorld


def test_samples_are_uniform_in_the_bounds_and_the_best_is_returned() -> None:
    world = PointWorld([-1.0, 0.0], [3.0, 0.5])
    goal = world.features(torch.tensor([[0.2, 0.3]]))
    planner = RandomShooting(world, energy=GoalL1(), num_samples=4000, num_iterations=2)
    plan = planner.plan(torch.zeros(1, 2), goal, generators=make_generators([0]))
    for t in plan.iterations:
        at = (t.samples[0, :, 0] - world.action_low) / (world.action_high - world.action_low)
        assert all(torch.histc(axis, bins=5, min=0.0, max=1.0).min() > 700 for axis in at.T)  # of 800 each
        assert abs(torch.corrcoef(at.T)[0, 1]) < 0.05
        torch.testing.assert_close(t.spread, (at.std(dim=0).mean() * 2)[None], rtol=0.02, atol=0.0)
    assert not torch.equal(plan.iterations[0].samples, plan.iterations[1].samples)
    best = min(plan.iterations, key=lambda t: t.best_energy.item())
    assert torch.equal(plan.actions, best.samples[best.selected])
    assert plan.energy == best.best_energy
