"""Sub-goals of a task, chosen by name."""

from __future__ import annotations

import numpy as np
import pytest

from envs import EnvError
from envs.arm_env import ArmEnv
from envs.tasks import TASKS

SIZE = 32


@pytest.mark.parametrize("task", ["push", "grasp", "pick_place"])
def test_the_expert_passes_all_moments_in_their_order(task: str) -> None:
    phases = TASKS[task].phases
    env = ArmEnv(task, image_size=SIZE, subgoals=phases)
    for seed in range(3):
        _, info = env.reset(seed=seed)
        assert info["subgoal_names"] == phases
        assert info["subgoal_images"].shape == (len(phases), SIZE, SIZE, 3)
        np.testing.assert_array_equal(info["subgoal_images"][-1], info["goal_image"])
        expert, success = env.expert(), False
        reached: list[np.ndarray] = []
        while not success and len(reached) < env.max_steps:
            observation = {"state": env.simulation.state()}
            _, _, success, _, info = env.step(expert.act(observation))
            reached.append(info["subgoals_reached"])
        first = np.argmax(reached, axis=0)
        assert success and np.all(reached[-1]) and (np.diff(first) >= 0).all(), (seed, first)
    env.close()


def test_other_sub_goals_change_pictures_alone() -> None:
    usual, finer = (
        ArmEnv("grasp", image_size=SIZE),
        ArmEnv("grasp", image_size=SIZE, subgoals=TASKS["grasp"].phases),
    )
    (seen, about), (same, more) = (env.reset(seed=5) for env in (usual, finer))
    np.testing.assert_array_equal(seen["image"], same["image"])
    np.testing.assert_array_equal(about["goal_image"], more["goal_image"])
    assert about["subgoal_names"] == ("at_object", "lifted") == TASKS["grasp"].subgoals
    np.testing.assert_array_equal(about["subgoal_images"][0], more["subgoal_images"][1])
    usual.close()
    finer.close()


@pytest.mark.parametrize(
    ("task", "names", "allowed"),
    [
        ("grasp", ("lifted", "at_object"), "some of above_object, at_object, gripped, lifted, in this order"),
        ("grasp", ("at_object", "held"), "some of above_object"),
        ("pick_place", ("grasped", "near_place"), "the last included"),
        ("reach", ("near",), "allows none"),
    ],
)
def test_unknown_or_unordered_sub_goals_are_refused(task: str, names: tuple[str, ...], allowed: str) -> None:
    with pytest.raises(EnvError, match=allowed):
        ArmEnv(task, subgoals=names)
