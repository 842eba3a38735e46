from __future__ import annotations

import logging

import numpy as np
import pytest

from planners import CEM, GoalL1, RecedingHorizon
from tests.evaluation.box_world import BoxEnv, BoxModel
from vjepa_world.errors import CheckpointError
from vjepa_world.evaluation.closed_loop.evaluate import draw_seeds
from vjepa_world.evaluation.closed_loop.rollout import rollout
from vjepa_world.planning.policy import PlannerPolicy


def planner_policy(model: BoxModel | None = None) -> PlannerPolicy:
    model = model or BoxModel()
    cem = CEM(
        model, energy=GoalL1(), horizon=2, num_samples=60, num_iterations=4, num_elites=8, momentum_std=0.1
    )
    return PlannerPolicy(
        model,
        RecedingHorizon(cem),
        energy=GoalL1(),
        action_low=BoxEnv.action_low,
        action_high=BoxEnv.action_high,
    )


def test_planning_in_a_true_model_reaches_every_goal() -> None:
    env, policy = BoxEnv(), planner_policy()
    episodes = [rollout(env, policy, seed=seed) for seed in draw_seeds(env, seed=0, n=8)[0]]
    assert all(e.success for e in episodes)
    for episode in episodes:
        assert len(episode.energies) == episode.steps + 1
        assert len(episode.plan_energies) == episode.steps
        # The plan promises less than where it starts from, and the model is true.
        assert episode.plan_energies[0] < episode.energies[0]
        assert episode.energies[-1] < 0.5 * episode.energies[0]
    assert all(a.dtype == np.float32 and np.abs(a).max() <= np.float32(0.1) for a in env.actions)


def test_an_episode_does_not_depend_on_those_before_it() -> None:
    env = BoxEnv()
    seeds, _ = draw_seeds(env, seed=0, n=3)
    policy = planner_policy()
    in_a_row = [rollout(env, policy, seed=seed) for seed in seeds]
    alone = [rollout(env, planner_policy(), seed=seed) for seed in seeds]
    assert [e.distances_m for e in in_a_row] == [e.distances_m for e in alone]
    assert [e.plan_energies for e in in_a_row] == [e.plan_energies for e in alone]


def test_a_checkpoint_of_another_action_size_is_refused_before_any_episode() -> None:
    with pytest.raises(
        CheckpointError, match=r"actions have 4 numbers, the environment's 2; .* fine-tune on data"
    ):
        planner_policy(BoxModel(action_size=4))


def test_a_checkpoint_with_a_larger_box_is_warned_about_and_clipped(caplog: pytest.LogCaptureFixture) -> None:
    env = BoxEnv()
    with caplog.at_level(logging.WARNING):
        policy = planner_policy(BoxModel(reach_m=0.5))
    assert "exceed the environment's on axes [0, 1]" in caplog.text
    [rollout(env, policy, seed=seed) for seed in draw_seeds(env, seed=0, n=2)[0]]
    assert np.abs(np.stack(env.actions)).max() == np.float32(0.1)
