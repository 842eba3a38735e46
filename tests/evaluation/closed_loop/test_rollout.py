from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from vjepa_world.evaluation.closed_loop.environment import Pair
from vjepa_world.evaluation.closed_loop.episode import Episode
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.rollout import rollout, rollouts
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.planning.policy import Observation, RandomPolicy


def first_pair(seed: int = 0) -> Pair:
    return draw_pairs(BoxEnv(), seed, 1).pairs[0]


class LeavingPolicy(CentroidPolicy):
    """Goes to the goal, stays for some actions, and moves away into a corner."""

    def __init__(self, stays: int) -> None:
        self.stays = stays
        self.reached = 0

    def act(self, observations: Sequence[Observation]) -> np.ndarray:
        actions = super().act(observations)
        self.reached += np.abs(actions).max() < 0.04
        return actions if self.reached <= self.stays else np.full((1, 2), 0.1, dtype=np.float32)


def test_a_solving_policy_succeeds_and_its_record_is_complete() -> None:
    pair, env = first_pair(3), BoxEnv()
    recording = rollout(env, CentroidPolicy(), seed=pair.seed)
    episode = recording.episode
    assert episode.success and episode.held
    assert episode.pair == pair == Pair(env.seeds[0] or 0)
    # The shortest way: whole steps of 10 cm on the longer axis until within 4 cm; then two more to hold.
    needed = np.abs(env.goal - BoxEnv().reset(seed=pair.seed)[0]["state"]).max()
    assert abs(episode.steps - 2 - needed / 0.1) <= 1
    assert episode.steps == len(episode.seconds_per_action) == len(env.actions)
    assert recording.frames.shape == (episode.steps + 1, 32, 32, 3)
    assert episode.initial_distance > 0.04
    assert episode.distances[-4] >= 0.04 > max(episode.distances[-3:])
    assert len(episode.energies) == episode.steps + 1
    assert episode.energies[-1] < 0.2 * episode.energies[0]
    assert episode.plan_energies == ()
    assert not np.array_equal(recording.frames[0], recording.frames[-1])
    assert len(recording.goal_images) == episode.steps + 1
    goal = BoxEnv().reset(seed=pair.seed)[1]["goal_image"]
    assert all(np.array_equal(image, goal) for image in recording.goal_images)
    assert episode.pursued == () and all(episode.at_goal)


def test_an_environment_that_ends_at_success_is_not_stepped_on_and_held_is_not_measured() -> None:
    class Ends(BoxEnv):
        def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            assert np.linalg.norm(self.position - self.goal) >= 0.04
            return super().step(action)

    episode = rollout(Ends(ends_at_success=True), CentroidPolicy(), seed=first_pair().seed).episode
    assert (episode.success, episode.held) == (True, None)
    assert episode.distances[-2] >= 0.04 > episode.distances[-1]


@pytest.mark.parametrize(("stays", "held"), [(1, False), (2, False), (3, True), (4, True)])
def test_held_means_three_actions_in_a_row_and_success_any_one(stays: int, held: bool) -> None:
    episode = rollout(BoxEnv(), LeavingPolicy(stays - 1), seed=first_pair().seed).episode
    assert episode.success
    assert episode.held == held
    assert episode.steps == 20 or held


def test_an_episode_ends_after_its_number_of_actions() -> None:
    still = RandomPolicy(np.zeros(2), np.zeros(2))
    episode = rollout(BoxEnv(time_limit=1000), still, seed=first_pair().seed, max_actions=7).episode
    assert (episode.steps, episode.success, episode.held) == (7, False, False)
    assert set(episode.distances) == {episode.initial_distance}


def test_the_environment_may_end_an_episode_earlier() -> None:
    seed = next(s for s in range(100) if BoxEnv().reset(seed=s)[1]["distance"] > 0.4)
    assert rollout(BoxEnv(time_limit=2), CentroidPolicy(), seed=seed).episode.steps == 2

    class Fails(BoxEnv):
        def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            observation, reward, _, truncated, info = super().step(action)
            return observation, reward, self.taken == 3, truncated, info

    assert rollout(Fails(), CentroidPolicy(), seed=seed).episode.steps == 3


@pytest.mark.parametrize(("limit", "most"), [(35, 35), (35, 50), (50, 30)])
def test_episodes_have_the_requested_length(limit: int, most: int) -> None:
    still = RandomPolicy(np.zeros(2), np.zeros(2))
    episode = rollout(BoxEnv(time_limit=limit), still, seed=first_pair().seed, max_actions=most).episode
    assert episode.steps == min(limit, most)


def test_subgoals_count_once_reached_and_labels_are_recorded() -> None:
    class Labelled(BoxEnv):
        metadata: dict[str, Any] = {}

        def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = super().reset(**given)
            info |= {"factors": {"light": "dim", "moved": np.True_, "turn": np.float32(0.5)}}
            return observation, info | {"subgoal_names": ("near", "there"), "redrawn_scenes": 2}

        def _info(self) -> dict[str, Any]:
            info = super()._info()
            near = self.taken == 1
            return info | {"subgoals_reached": np.array([near, info["success"]]), "contact": self.taken == 2}

    episode = rollout(Labelled(), CentroidPolicy(), seed=first_pair().seed).episode
    assert (episode.subgoals, episode.subgoal_names) == ((True, True), ("near", "there"))
    assert dict(episode.factors) == {"light": "dim", "moved": True, "turn": 0.5}
    assert (episode.events, episode.redrawn_scenes) == (("contact",), 2)
    assert Episode.from_json(episode.as_json()) == episode


def test_a_distance_that_is_not_known_survives_the_file() -> None:
    class Blind(BoxEnv):
        def _info(self) -> dict[str, Any]:
            return super()._info() | {"distance": float("nan")}

    episode = rollout(Blind(), CentroidPolicy(), seed=first_pair().seed).episode
    assert episode.as_json()["distances"] == [None] * episode.steps
    read = Episode.from_json(episode.as_json())
    assert np.isnan(read.distances).all() and np.isnan(read.initial_distance)


def test_random_actions_are_not_the_numbers_that_drew_the_goal() -> None:
    # Both come from the episode's seed. Were it the same stream, the first action would be where the start is.
    env = BoxEnv()
    rollout(env, RandomPolicy(np.full(2, 0.1), np.full(2, 0.9)), seed=4, max_actions=1)
    assert np.abs(env.actions[0] - BoxEnv().reset(seed=4)[0]["state"]).max() > 0.01


def test_random_actions_fill_the_box_and_repeat_with_the_seed() -> None:
    env, policy = BoxEnv(), RandomPolicy(BoxEnv.action_low, BoxEnv.action_high)
    pairs = draw_pairs(env, 0, 20).pairs
    first = [found.episode.distances for found in rollouts([env], policy, pairs)]
    actions = np.stack(env.actions)
    assert first == [found.episode.distances for found in rollouts([env], policy, pairs)]
    assert actions.dtype == np.float32
    assert np.abs(actions).max() <= np.float32(0.1)
    assert actions.min() < -0.095
    assert actions.max() > 0.095
    # Uniform on [-0.1, 0.1]: standard deviation 0.2 / sqrt(12); 250 actions and more leave 10 %.
    assert actions.std() == pytest.approx(0.2 / 12**0.5, rel=0.1)


def test_an_environment_without_a_goal_image_is_refused() -> None:
    class NoGoal(BoxEnv):
        def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
            observation, info = super().reset(**given)
            del info["goal_image"]
            return observation, info

    with pytest.raises(EvaluationError, match="info has no goal_image after reset, only distance, success"):
        rollout(NoGoal(), CentroidPolicy(), seed=0)
    with pytest.raises(EvaluationError, match="max_actions is 0; allowed is at least 1"):
        rollout(BoxEnv(), CentroidPolicy(), seed=0, max_actions=0)
