from __future__ import annotations

import json

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from vjepa_world.evaluation.closed_loop.evaluate import (
    POLICY,
    RANDOM,
    EvaluationResult,
    draw_seeds,
    evaluate,
    summarise,
)
from vjepa_world.evaluation.closed_loop.rollout import Episode, rollout
from vjepa_world.evaluation.statistics import EvaluationError, wilson_interval
from vjepa_world.planning.policy import Policy, RandomPolicy


def random_policy() -> RandomPolicy:
    return RandomPolicy(BoxEnv.action_low, BoxEnv.action_high)


def run_all(env: BoxEnv, policy: Policy, seeds: list[int]) -> list[Episode]:
    return [rollout(env, policy, seed=seed) for seed in seeds]


def run_both(env: BoxEnv, n: int) -> EvaluationResult:
    return evaluate(env, CentroidPolicy(), episodes=n, random_policy=random_policy())


def test_a_solving_policy_succeeds_and_its_record_is_complete() -> None:
    [seed], _ = draw_seeds(BoxEnv(), seed=3, n=1)
    env = BoxEnv()
    episode = rollout(env, CentroidPolicy(), seed=seed)
    assert episode.success
    assert episode.seed == seed == env.seeds[0]
    # The shortest way: whole steps of 10 cm on the longer axis until within 4 cm.
    needed = np.abs(env.goal - BoxEnv().reset(seed=seed)[0]["state"]).max()
    assert abs(episode.steps - needed / 0.1) <= 1
    assert episode.steps == len(episode.seconds_per_action) == len(env.actions)
    assert episode.frames.shape == (episode.steps + 1, 32, 32, 3)
    assert episode.initial_distance_m > 0.04
    assert episode.distances_m[-2] >= 0.04 > episode.final_distance_m
    assert len(episode.energies) == episode.steps + 1
    assert episode.energies[-1] < 0.2 * episode.energies[0]
    assert episode.plan_energies == ()
    assert not np.array_equal(episode.frames[0], episode.frames[-1])
    assert np.array_equal(episode.goal_image, BoxEnv().reset(seed=seed)[1]["goal_image"])


def test_an_episode_ends_after_its_number_of_actions() -> None:
    class Still(CentroidPolicy):
        def act(self, observation: object) -> np.ndarray:
            return np.zeros(2, dtype=np.float32)

    env = BoxEnv(time_limit=1000)
    episode = rollout(env, Still(), seed=draw_seeds(env, 0, 1)[0][0], max_actions=7)
    assert (episode.steps, episode.success) == (7, False)
    assert set(episode.distances_m) == {episode.initial_distance_m}


def test_the_environment_may_end_an_episode_earlier() -> None:
    env = BoxEnv(time_limit=2)
    seed = next(s for s in range(100) if BoxEnv().reset(seed=s)[1]["distance"] > 0.4)
    assert rollout(env, CentroidPolicy(), seed=seed).steps == 2


def test_success_at_any_step_counts_though_the_arm_leaves_again() -> None:
    class Passing(BoxEnv):
        def step(self, action: np.ndarray) -> tuple:
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, False, truncated, info

    class Away(CentroidPolicy):
        def act(self, observation: object) -> np.ndarray:
            action = super().act(observation)  # type: ignore[arg-type]
            self.steps = getattr(self, "steps", 0) + 1
            return action if self.steps <= 10 else np.array([0.1, 0.1], dtype=np.float32)

    episode = rollout(Passing(), Away(), seed=draw_seeds(BoxEnv(), 0, 1)[0][0])
    assert episode.success
    assert episode.steps == 20
    assert episode.final_distance_m > 0.04


def test_seeds_solved_at_reset_are_skipped_and_counted() -> None:
    env = BoxEnv(near=0.5)
    drawn, redrawn = draw_seeds(env, seed=5, n=30)
    tried = list(env.seeds)
    assert tried == np.random.SeedSequence(5).generate_state(len(tried)).tolist()
    solved = [s for s in tried if env.reset(seed=s)[1]["success"]]
    assert 5 < len(solved) < 60
    assert drawn == [s for s in tried if s not in solved]
    assert redrawn == len(solved)


def test_more_episodes_start_with_the_same_ones() -> None:
    env = BoxEnv(near=0.3)
    assert draw_seeds(env, seed=1, n=12)[0][:5] == draw_seeds(env, seed=1, n=5)[0]
    assert draw_seeds(env, seed=1, n=5) != draw_seeds(env, seed=2, n=5)


def test_a_task_that_is_always_solved_at_reset_is_refused() -> None:
    with pytest.raises(
        EvaluationError, match="only 0 of 30 seeds drawn from seed 0 begin unsolved, 3 were requested"
    ):
        draw_seeds(BoxEnv(near=1.0), seed=0, n=3)
    with pytest.raises(EvaluationError, match="0 episodes were requested"):
        draw_seeds(BoxEnv(), seed=0, n=0)


def test_both_policies_run_the_same_episodes() -> None:
    found = run_both(BoxEnv(near=0.3), 6)
    for a, b in zip(found.episodes, found.random_episodes, strict=True):
        assert (a.seed, a.initial_distance_m) == (b.seed, b.initial_distance_m)
        assert np.array_equal(a.frames[0], b.frames[0])
        assert np.array_equal(a.goal_image, b.goal_image)


def test_random_actions_fill_the_box_and_repeat_with_the_seed() -> None:
    env = BoxEnv()
    seeds, _ = draw_seeds(env, 0, 20)
    first = [e.distances_m for e in run_all(env, random_policy(), seeds)]
    actions = np.stack(env.actions)
    assert first == [e.distances_m for e in run_all(env, random_policy(), seeds)]
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= np.float32(0.1)
    assert actions.min() < -0.095
    assert actions.max() > 0.095
    # Uniform on [-0.1, 0.1]: standard deviation 0.2 / sqrt(12); 250 actions and more leave 10 %.
    assert actions.std() == pytest.approx(0.2 / 12**0.5, rel=0.1)


def test_random_actions_are_not_the_numbers_that_drew_the_goal() -> None:
    # Both come from the episode's seed. Were it the same stream, the first action would be where the start is.
    env = BoxEnv()
    rollout(env, RandomPolicy(np.full(2, 0.1), np.full(2, 0.9)), seed=4, max_actions=1)
    assert np.abs(env.actions[0] - BoxEnv().reset(seed=4)[0]["state"]).max() > 0.01


def test_the_summary_has_the_metrics() -> None:
    found = run_both(BoxEnv(near=0.3), 12)
    ours, control = found.episodes, found.random_episodes
    result = found.metrics()
    assert {
        "episodes",
        "successes",
        "success_rate",
        "wilson_low",
        "wilson_high",
        "random_success_rate",
        "solved_at_reset",
        "final_distance_m",
        "seconds_per_action",
    } <= set(result)
    assert (result["episodes"], result["successes"], result["success_rate"]) == (12, 12, 1.0)
    assert (result["wilson_low"], result["wilson_high"]) == wilson_interval(12, 12)
    assert result["random_success_rate"] == sum(e.success for e in control) / 12 < 0.7
    assert result["solved_at_reset"] == found.solved_at_reset == draw_seeds(BoxEnv(near=0.3), 0, 12)[1] > 0
    assert result["final_distance_m"]["median"] == np.median([e.distances_m[-1] for e in ours])
    assert result["final_distance_m"]["p90"] == np.percentile([e.distances_m[-1] for e in ours], 90)
    assert 0 < result["seconds_per_action"]["p50"] <= result["seconds_per_action"]["p95"]
    assert json.loads(json.dumps(result)) == result
    assert (found.success_rate, found.interval) == (1.0, wilson_interval(12, 12))


def test_a_summary_over_different_episodes_is_refused() -> None:
    found = run_both(BoxEnv(), 2)
    with pytest.raises(EvaluationError, match=r"2 episodes and 2 random ones were given, on different seeds"):
        summarise(found.episodes, found.random_episodes[::-1])
    with pytest.raises(EvaluationError, match="0 episodes and 0 random ones"):
        summarise([], [])


@pytest.mark.parametrize(("limit", "most"), [(35, 35), (35, 50), (50, 30)])
def test_episodes_have_the_requested_length(limit: int, most: int) -> None:
    env = BoxEnv(time_limit=limit)
    still = RandomPolicy(np.zeros(2), np.zeros(2))
    episode = rollout(env, still, seed=draw_seeds(env, 0, 1)[0][0], max_actions=most)
    assert episode.steps == min(limit, most)


def test_controls_run_on_the_same_episodes_and_each_is_reported() -> None:
    reported: list[tuple[str, int]] = []
    found = evaluate(
        BoxEnv(),
        CentroidPolicy(),
        episodes=3,
        seed=2,
        controls={"again": CentroidPolicy()},
        on_episode=lambda name, episode: reported.append((name, episode.seed)),
    )
    seeds, _ = draw_seeds(BoxEnv(), 2, 3)
    assert reported == [(name, seed) for name in (RANDOM, POLICY, "again") for seed in seeds]
    metrics = found.metrics()
    assert metrics["controls"]["again"]["final_distance_m"] == metrics["final_distance_m"]


def test_random_actions_fill_the_action_space_where_no_other_box_is_given() -> None:
    env = BoxEnv()
    evaluate(env, RandomPolicy(np.zeros(2), np.zeros(2)), episodes=4)
    actions = np.stack(env.actions)
    moved = actions[np.abs(actions).max(axis=1) > 0]
    assert moved.min() < -0.09 and moved.max() > 0.09 and np.abs(moved).max() <= np.float32(0.1)


def test_an_environment_without_a_goal_image_is_refused() -> None:
    class NoGoal(BoxEnv):
        def reset(self, *, seed: int | None = None) -> tuple:
            observation, info = super().reset(seed=seed)
            del info["goal_image"]
            return observation, info

    with pytest.raises(EvaluationError, match="info has no goal_image after reset, only distance, success"):
        rollout(NoGoal(), CentroidPolicy(), seed=0)
    with pytest.raises(EvaluationError, match="max_actions is 0; allowed is at least 1"):
        rollout(BoxEnv(), CentroidPolicy(), seed=0, max_actions=0)
