"""Sub-goals: when an episode goes on to the next, and what policies, energies and records have of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from tests.evaluation.subgoal_world import SubGoalEnv
from vjepa_world.evaluation.closed_loop.episode import Episode, Recording
from vjepa_world.evaluation.closed_loop.goals import GoalSequence, SubGoalSchedule
from vjepa_world.evaluation.closed_loop.pairs.drawing import draw_pairs
from vjepa_world.evaluation.closed_loop.rollout import rollout
from vjepa_world.evaluation.statistics import EvaluationError

REPORTED = SubGoalSchedule()
IMAGES = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1) + np.zeros((3, 4, 4, 3), np.uint8)
INFO: dict[str, Any] = {
    "goal_image": IMAGES[-1],
    "subgoal_images": IMAGES,
    "subgoal_names": ("a", "b", "c"),
    "subgoals_reached": np.zeros(3, bool),
}


def run(schedule: SubGoalSchedule | None, index: int = 0) -> Recording:
    pair = draw_pairs(SubGoalEnv(), seed=1, n=index + 1).pairs[index]
    return rollout(SubGoalEnv(), CentroidPolicy(), seed=pair.seed, subgoals=schedule)


def pursued(schedule: SubGoalSchedule, reached: list[list[bool]]) -> list[int]:
    goals = GoalSequence(INFO, schedule)
    found = [goals.current]
    for actions, flags in enumerate(reached, start=1):
        changed = goals.advance({"subgoals_reached": np.array(flags)}, actions=actions)
        found.append(goals.current)
        assert changed == (found[-1] != found[-2])
        assert np.array_equal(goals.image, IMAGES[goals.current])
    return found


def test_a_schedule_of_steps_goes_on_by_the_number_of_actions_and_stays_at_the_goal() -> None:
    assert pursued(SubGoalSchedule((2, 3, 1)), [[True] * 3] * 8) == [0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_without_steps_an_episode_goes_on_once_the_environment_reports_it_and_never_back() -> None:
    no, first, both, second = [False] * 3, [True, False, False], [True, True, False], [False, True, False]
    assert pursued(REPORTED, [no, first, no, second, no]) == [0, 0, 1, 1, 2, 2]
    assert pursued(REPORTED, [no, both, [True] * 3]) == [0, 0, 2, 2]
    assert pursued(REPORTED, [second, second]) == [0, 0, 0]  # the first is not reached yet
    assert GoalSequence(INFO | {"subgoals_reached": np.array(first)}, REPORTED).current == 1


def test_an_episode_by_sub_goals_goes_through_them_and_its_record_says_where() -> None:
    recording = run(REPORTED)
    episode, middle = recording.episode, np.array([0.5, 0.5])
    turn = episode.pursued.index(1)
    assert 0 < turn < episode.steps
    assert episode.pursued == (0,) * turn + (1,) * (episode.steps + 1 - turn)
    assert episode.success and episode.subgoals == (True, True)
    assert episode.at_goal == tuple(index == 1 for index in episode.pursued)
    env = SubGoalEnv()
    observation, info = env.reset(seed=episode.pair.seed)
    for index, image in zip(episode.pursued, recording.goal_images, strict=True):
        assert np.array_equal(image, info["subgoal_images"][index])
    # The energy of an observation is that of the goal pursued from then on: the policy's is the mean over the axes.
    assert episode.energies[0] == pytest.approx(np.abs(observation["state"] - middle).mean(), abs=0.02)
    assert episode.energies[turn] == pytest.approx(np.abs(middle - env.goal).mean(), abs=0.05)
    assert Episode.from_json(episode.as_json()) == episode
    # The way through the middle is longer than the direct one.
    assert episode.steps > run(None).episode.steps


def test_by_steps_the_policy_turns_to_the_goal_whether_the_sub_goal_is_reached_or_not() -> None:
    recording = run(SubGoalSchedule((1, 5)))
    assert recording.episode.pursued[:3] == (0, 1, 1)
    assert recording.episode.success and not recording.episode.subgoals[0]


def test_without_a_schedule_nothing_of_sub_goals_is_pursued() -> None:
    recording = run(None)
    assert recording.episode.pursued == ()
    assert all(np.array_equal(image, recording.goal_images[-1]) for image in recording.goal_images)


def test_names_are_numbers_where_the_environment_has_none() -> None:
    info = {name: value for name, value in INFO.items() if name != "subgoal_names"}
    assert GoalSequence(info, REPORTED).names == ("sub-goal 1", "sub-goal 2", "sub-goal 3")


@pytest.mark.parametrize(
    ("changes", "steps", "message"),
    [
        (
            {"subgoal_images": None},
            (),
            "needs subgoal_images in the environment's info after reset, which has only goal_image, subgoal_names, ",
        ),
        (
            {"subgoals_reached": None},
            (),
            r"needs subgoals_reached .* give subgoal_steps, or leave goals=final",
        ),
        ({}, (4, 10), r"subgoal_steps is \[4, 10\], and the environment has 3 sub-goals \(a, b, c\)"),
        ({"subgoal_images": IMAGES[:, :2]}, (), r"has shape \[3, 2, 4, 3\]; allowed is \[G, 4, 4, 3\]"),
        ({"subgoal_images": IMAGES[:0]}, (), r"has shape \[0, 4, 4, 3\]"),
    ],
)
def test_an_environment_whose_sub_goals_do_not_fit_is_refused(
    changes: dict[str, Any], steps: tuple[int, ...], message: str
) -> None:
    info = {name: value for name, value in (INFO | changes).items() if value is not None}
    with pytest.raises(EvaluationError, match=message):
        GoalSequence(info, SubGoalSchedule(steps))


def test_steps_alone_need_no_reports_and_are_at_least_1() -> None:
    info = {name: value for name, value in INFO.items() if name != "subgoals_reached"}
    assert GoalSequence(info, SubGoalSchedule((4, 10, 4))).current == 0
    with pytest.raises(EvaluationError, match=r"subgoal_steps is \[4, 0\]; allowed are numbers of actions"):
        SubGoalSchedule((4, 0))
    with pytest.raises(EvaluationError, match=r"goals=subgoals needs subgoal_images and subgoals_reached"):
        rollout(BoxEnv(), CentroidPolicy(), seed=0, subgoals=REPORTED)
