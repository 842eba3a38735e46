from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import CEM, GoalL1, RecedingHorizon
from tests.evaluation.box_world import BoxEnv, BoxModel
from tests.evaluation.subgoal_world import SubGoalEnv
from vjepa_world.errors import CheckpointError
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.goals import SubGoalSchedule
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.rollout import rollouts
from vjepa_world.planning.planner_policy import PlannerPolicy, ProposalPolicy
from vjepa_world.planning.policy import Policy, Problem


def planner_policy(model: BoxModel | None = None, replan_every: int = 1) -> PlannerPolicy:
    model = model or BoxModel()
    cem = CEM(
        model, energy=GoalL1(), horizon=2, num_samples=60, num_iterations=4, num_elites=8, momentum_std=0.1
    )
    return PlannerPolicy(
        model,
        RecedingHorizon(cem, replan_every=replan_every),
        energy=GoalL1(),
        action_low=BoxEnv.action_low,
        action_high=BoxEnv.action_high,
    )


def test_planning_in_a_true_model_reaches_every_goal() -> None:
    env, policy = BoxEnv(), planner_policy()
    episodes = [found.episode for found in rollouts([env], policy, draw_pairs(env, seed=0, n=8).pairs)]
    assert all(e.success for e in episodes)
    for episode in episodes:
        assert len(episode.energies) == episode.steps + 1
        assert len(episode.plan_energies) == episode.steps
        # The plan promises less than where it starts from, and the model is true.
        assert episode.plan_energies[0] < episode.energies[0]
        assert episode.energies[-1] < 0.5 * episode.energies[0]
    assert all(a.dtype == np.float32 and np.abs(a).max() <= np.float32(0.1) for a in env.actions)


def record(
    together: int,
    policy: Policy,
    pairs: Sequence[Pair],
    make: type[BoxEnv] = BoxEnv,
    subgoals: SubGoalSchedule | None = None,
) -> dict[int, Any]:
    """Return the actions and energies of each episode by its seed, run `together` at a time."""
    envs = [make(ends_at_success=True) for _ in range(together)]
    episodes = [found.episode for found in rollouts(envs, policy, pairs, subgoals=subgoals)]
    actions = {seed: taken for env in envs for seed, taken in env.actions_of.items()}
    return {e.pair.seed: (actions[e.pair.seed], e.energies, e.plan_energies, e.pursued) for e in episodes}


def test_actions_do_not_depend_on_the_batch_the_order_or_the_history() -> None:
    pairs = draw_pairs(BoxEnv(), seed=0, n=5).pairs
    alone = {seed: found for pair in pairs for seed, found in record(1, planner_policy(), [pair]).items()}
    assert len({len(actions) for actions, *_ in alone.values()}) > 1  # they leave the batch one by one
    policy = planner_policy()
    for together in (1, 2, 5):
        assert record(together, policy, pairs) == alone
        assert record(together, policy, pairs[::-1]) == alone


def straight_policy() -> ProposalPolicy:
    """Steps straight to the goal's position, where its picture is brightest; no search."""

    def propose(context: Tensor, goal: Tensor) -> Tensor:
        weight = goal[..., 0] ** 40
        at = (torch.arange(0, 32, 4) + 0.5) / 32
        x, y = at.repeat(8), at.repeat_interleave(8)
        target = torch.stack([(weight * x).sum(1), (weight * y).sum(1)], dim=1) / weight.sum(1, keepdim=True)
        return (target - context).clamp(-0.1, 0.1).unsqueeze(1)

    bounds = {"action_low": BoxEnv.action_low, "action_high": BoxEnv.action_high}
    return ProposalPolicy(BoxModel(), propose, energy=GoalL1(), **bounds)


@pytest.mark.parametrize("schedule", [SubGoalSchedule(), SubGoalSchedule((3, 1))])
@pytest.mark.parametrize("make", [planner_policy, lambda: planner_policy(replan_every=2), straight_policy])
def test_sub_goals_do_not_depend_on_the_batch_either(
    make: Callable[[], Policy], schedule: SubGoalSchedule
) -> None:
    pairs = draw_pairs(SubGoalEnv(), seed=0, n=5).pairs
    alone: dict[int, Any] = {}
    for pair in pairs:
        alone |= record(1, make(), [pair], SubGoalEnv, schedule)
    turns = {pursued.index(1) for *_, pursued in alone.values() if 1 in pursued}
    assert (turns == {3}) if schedule.steps else (len(turns) > 1)  # they turn to the goal at different steps
    policy = make()
    for together in (2, 5):
        assert record(together, policy, pairs, SubGoalEnv, schedule) == alone
        assert record(together, policy, pairs[::-1], SubGoalEnv, schedule) == alone


def test_a_new_goal_is_planned_for_at_once_and_not_from_the_plan_for_the_old_one() -> None:
    policy = planner_policy(replan_every=2)
    observation, info = BoxEnv().reset(seed=0)
    policy.reset([Problem(info["goal_image"], np.random.default_rng(0))])
    policy.act([observation])
    other = BoxEnv().reset(seed=1)[1]["goal_image"]
    policy.set_goals({0: other})
    turned = policy.act([observation])
    fresh = planner_policy(replan_every=2)
    fresh.reset([Problem(other, np.random.default_rng(0))])
    fresh.act([observation])  # its first plan has used the noise of the other policy's first
    fresh.planner.reset()
    assert np.array_equal(turned, fresh.act([observation]))


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
    list(rollouts([env], policy, draw_pairs(env, seed=0, n=2).pairs))
    assert np.abs(np.stack(env.actions)).max() == np.float32(0.1)
