"""Trajectories of every convention are converted to the same one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.arm_motion import arm_episodes, make_trajectory, random_poses
from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import PLAIN, Convention
from vjepa_world.ops.pose import apply_action, euler_to_matrix

QUATERNIONS = Convention(
    position_unit="mm",
    rotation="quat_wxyz",
    rotation_at=(4, 5, 6, 7),
    gripper_at=(3,),
    gripper_open=85,
    gripper_closed=0,
)
DEGREES = Convention(rotation="ZYX", angle_unit="deg", frame=(0.1, 0, -0.2, 0, 0, 1.0))


@pytest.mark.parametrize("how", [Convention(), QUATERNIONS, DEGREES])
@pytest.mark.parametrize("actions", ["derived", "delta", "target"])
def test_every_convention_gives_the_same_motion(how: Convention, actions: Any) -> None:
    convention = replace(how, actions=actions)
    [episode] = arm_episodes(convention, count=1)
    found = standardise(episode, convention)
    poses = random_poses(0)
    assert {found.states.dtype, found.actions.dtype} == {np.dtype(np.float32)}
    assert found.actions.shape == (len(episode) - 1, 7)
    positions = [0, 1, 2, 6]
    np.testing.assert_allclose(found.states[:, positions], poses[:, positions], atol=2e-5)
    turned = euler_to_matrix(torch.from_numpy(found.states[:, 3:6]))
    np.testing.assert_allclose(turned, euler_to_matrix(poses[:, 3:6]), atol=2e-4)
    assert np.abs(np.diff(found.states[:, 3:6], axis=0)).max() < 1  # no jumps, though the gripper points down
    arrived = apply_action(torch.from_numpy(found.states[:-1]), torch.from_numpy(found.actions))
    np.testing.assert_allclose(arrived[:, positions], found.states[1:, positions], atol=1e-4)
    np.testing.assert_allclose(euler_to_matrix(arrived[:, 3:6]), turned[1:], atol=1e-3)


def test_a_target_that_is_not_reached_is_still_the_action() -> None:
    states = np.zeros((3, 7))
    targets = np.array([[0.1, 0, 0, 0, 0, 0.2, 1.0], [0, -0.3, 0, math.pi, 0, 0, 0]])
    found = standardise(make_trajectory(0, states, targets), Convention(actions="target"))
    np.testing.assert_allclose(found.actions, targets, atol=1e-6)
    assert not found.states.any()


def test_numbers_of_unknown_meaning_are_unchanged() -> None:
    rng = np.random.default_rng(0)
    states, actions = rng.normal(size=(5, 3)), rng.normal(size=(4, 2))
    episode = make_trajectory(0, states, actions, last_action=actions[0], task="push", success=True)
    found = standardise(episode, PLAIN)
    assert np.array_equal(found.states, states.astype(np.float32))
    assert np.array_equal(found.actions, actions.astype(np.float32))
    assert found.last_action is not None
    assert found.last_action.dtype == np.float32
    assert (found.task, found.success, found.name) == ("push", True, episode.name)
    given = standardise(make_trajectory(0, np.zeros((5, 7)), actions), Convention(actions="given"))
    assert np.array_equal(given.actions, actions.astype(np.float32))


def test_derived_actions_drop_the_last_action() -> None:
    episode = make_trajectory(0, np.zeros((3, 7)), np.zeros((2, 7)), last_action=np.ones(7))
    assert standardise(episode, Convention()).last_action is None
    assert standardise(episode, Convention(actions="delta")).last_action is not None


@pytest.mark.parametrize(
    ("convention", "states", "actions", "message"),
    [
        (
            Convention(),
            (3, 6),
            (2, 7),
            "its states, cannot be read: gripper_at names index 6, and a state has 6",
        ),
        (Convention(actions="delta"), (3, 7), (2, 4), "its actions have 4 numbers, and pose deltas have 7"),
        (Convention(actions="target"), (3, 7), (2, 6), "its actions, which are targets .* cannot be read"),
        (QUATERNIONS, (3, 8), (2, 7), r"a quaternion has length 0 at \[0\]"),
    ],
)
def test_data_that_does_not_fit_is_reported(
    convention: Convention, states: tuple[int, int], actions: tuple[int, int], message: str
) -> None:
    episode = make_trajectory(4, np.zeros(states), np.zeros(actions))
    with pytest.raises(DataError, match=f"episode 4 of arm: .*{message}"):
        standardise(episode, convention)


def test_a_single_row_has_no_actions() -> None:
    found = standardise(make_trajectory(0, np.zeros((1, 7)), np.zeros((0, 7))), Convention())
    assert found.actions.shape == (0, 7)


def test_indices_of_choices_become_one_hot_and_others_are_refused() -> None:
    how = replace(PLAIN, choices=3)
    trajectory = replace(
        make_trajectory(0, np.zeros((4, 0)), np.array([[2.0], [0.0], [1.0]])), last_action=np.array([1.0])
    )
    found = standardise(trajectory, how)
    np.testing.assert_array_equal(found.actions, [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert found.states.shape == (4, 0) and found.last_action is not None
    for wrong in (3.0, -1.0, 0.5):
        broken = replace(trajectory, actions=np.array([[0.0], [wrong], [0.0]]))
        with pytest.raises(DataError, match=r"its action at row 1 is .*index of one of 3 choices"):
            standardise(broken, how)
    with pytest.raises(ConfigError, match="discrete actions are choices=N of at least 1 with actions=given"):
        Convention(choices=3)
