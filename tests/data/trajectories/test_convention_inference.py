"""Actions of joint robots: matched to joints by name, classified by their values, angle changes the shorter way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.joint_robot import FPS, JOINTS, SIZE, joint_episode
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.trajectories.windows import read_episodes
from vjepa_world.errors import ConfigError
from vjepa_world.ops.convention import PLAIN, Convention, resolve_joints
from vjepa_world.ops.rotations import shortest_changes

ALOHA = ("left_waist", "left_shoulder", "left_elbow", "right_waist", "right_shoulder", "right_gripper")
ORDER = [3, 1, 0, 5, 4, 2]


def write(root: Path, states: tuple[str, ...], order: list[int], *, deltas: bool = False) -> Path:
    """Write three episodes whose actions are in another order and undeclared."""
    spec = DatasetSpec(
        fps=FPS,
        state_names=states,
        action_names=tuple(states[index] for index in order),
        robot_type="arm",
        cameras={"front": VideoSpec.encoded(SIZE, SIZE, FPS)},
        convention=PLAIN,
    )
    writer = LeRobotWriter(root, spec)
    with writer.shard(0) as shard:
        for index in range(3):
            frames, joints, targets = joint_episode(index)
            actions = targets - joints if deltas else targets
            shard.add_episode(frames, joints, actions[:-1, order], task="reach")
    return writer.finalize()


@pytest.mark.parametrize("names", [JOINTS, ALOHA], ids=["so100", "aloha"])
@pytest.mark.parametrize("order", [list(range(6)), ORDER], ids=["same", "other"])
@pytest.mark.parametrize("deltas", [False, True], ids=["target", "delta"])
def test_actions_go_to_the_joints_of_their_names(
    tmp_path: Path, names: tuple[str, ...], order: list[int], deltas: bool
) -> None:
    dataset = open_trajectories(write(tmp_path / "arm", names, order, deltas=deltas))
    assert dataset.convention.actions == ("delta" if deltas else "target")
    episodes, _ = read_episodes(dataset, max_bad_fraction=0.0)
    for index, episode in enumerate(episodes):
        _, joints, targets = joint_episode(index)
        expected = targets - joints if deltas else targets
        np.testing.assert_allclose(episode.actions, expected[:-1], atol=1e-5)


def test_declared_units_take_precedence_over_the_numbers(tmp_path: Path) -> None:
    path = write(tmp_path / "arm", ALOHA, ORDER)
    declared = Convention(joints="all", actions="given")
    assert open_trajectories(path, convention=declared).convention.actions == "given"


def test_some_joints_of_a_state_are_found_in_its_actions() -> None:
    states, actions = ("joint_1", "joint_2", "joint_3", "gripper"), ("gripper", "joint_1")
    found = resolve_joints(Convention(joints=(0, 3), actions="target"), states, actions)
    assert found.action_joints == (1, 0)
    assert resolve_joints(found, states, actions) == found
    declared = dataclasses.replace(found, action_joints=(0, 1))
    assert resolve_joints(declared, states, actions).action_joints == (0, 1)


def test_duplicate_names_do_not_determine_the_order() -> None:
    found = resolve_joints(Convention(joints="all", actions="target"), ("j", "j"), ("j", "j"))
    assert found.action_joints == ()


@pytest.mark.parametrize("given", [(0, 0), (0, -1), (0, 1, 2), (0, 9)])
def test_impossible_action_indices_are_refused(given: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="action_joints"):
        resolve_joints(
            Convention(joints=(0, 1), action_joints=given, actions="target"), ("a", "b"), ("a", "b")
        )


def test_angle_changes_take_the_shorter_way() -> None:
    changes = torch.tensor(
        [[-335.0, 6.0, -335.0], [25.0, -6.0, 25.0], [335.0, 0.5, 335.0]], dtype=torch.float64
    )
    found = shortest_changes(changes, ("deg", "rad", "normalised"))
    turn = 2 * torch.pi
    expected = [[25.0, 6.0 - turn, -335.0], [25.0, turn - 6.0, 25.0], [-25.0, 0.5, 335.0]]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
