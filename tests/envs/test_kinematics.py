from __future__ import annotations

import numpy as np
import pytest

from envs import EnvError
from envs.arm.controller import DOWN_EULER_RAD
from envs.arm.kinematics import RedundantKinematics
from envs.arm.limits import WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.arm.model import build_model
from envs.arm.robots import PANDA
from envs.arm.robots.panda import JOINT_HIGH_RAD, JOINT_LOW_RAD
from envs.arm.rotations import euler_to_matrix, matrix_to_euler, rotation_error

LOW, HIGH = np.array(JOINT_LOW_RAD), np.array(JOINT_HIGH_RAD)


@pytest.fixture(scope="module")
def kinematics() -> RedundantKinematics:
    return RedundantKinematics(build_model(64, 64), PANDA)


def published_tcp(joints: np.ndarray) -> np.ndarray:
    """Franka's published table (a, d, alpha; Craig's convention), multiplied out from its 4x4 definition."""
    half_pi = np.pi / 2
    table = [
        (0.0, 0.333, 0.0, joints[0]),
        (0.0, 0.0, -half_pi, joints[1]),
        (0.0, 0.316, half_pi, joints[2]),
        (0.0825, 0.0, half_pi, joints[3]),
        (-0.0825, 0.384, -half_pi, joints[4]),
        (0.0, 0.0, half_pi, joints[5]),
        (0.088, 0.0, half_pi, joints[6]),
        (0.0, 0.107, 0.0, 0.0),  # flange
        (0.0, 0.1034, 0.0, -np.pi / 4),  # hand, TCP
    ]
    pose = np.eye(4)
    for a, d, alpha, theta in table:
        ct, st, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [
                [ct, -st, 0.0, a],
                [st * ca, ct * ca, -sa, -d * sa],
                [st * sa, ct * sa, ca, d * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


def test_forward_kinematics_is_the_published_one(kinematics: RedundantKinematics) -> None:
    rng = np.random.default_rng(0)
    for joints in rng.uniform(LOW, HIGH, (50, 7)):
        position, rotation = kinematics.forward(joints)
        expected = published_tcp(joints)
        np.testing.assert_allclose(position, expected[:3, 3], atol=1e-6)
        np.testing.assert_allclose(rotation, expected[:3, :3], atol=1e-6)


def test_euler_angles_are_rotations_about_the_fixed_axes_in_turn() -> None:
    rng = np.random.default_rng(1)
    for a, b, c in rng.uniform(-1.5, 1.5, (20, 3)):
        about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
        about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
        about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
        rotation = euler_to_matrix(np.array([a, b, c]))
        np.testing.assert_allclose(rotation, about_z @ about_y @ about_x, atol=1e-12)
        np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(rotation)), rotation, atol=1e-12)


@pytest.mark.parametrize("pitch", [np.pi / 2, -np.pi / 2])
def test_gimbal_lock_still_gives_the_same_rotation(pitch: float) -> None:
    rotation = euler_to_matrix(np.array([0.4, pitch, -0.9]))
    np.testing.assert_allclose(euler_to_matrix(matrix_to_euler(rotation)), rotation, atol=1e-7)


def test_roll_of_a_hand_pointing_down_does_not_jump() -> None:
    rolls = [matrix_to_euler(euler_to_matrix(np.array([np.pi + e, 0, 0])))[0] for e in (-1e-3, 0, 1e-3)]
    np.testing.assert_allclose(np.diff(rolls), 1e-3, atol=1e-9)


def test_rotation_error_carries_one_rotation_to_the_other() -> None:
    first, second = euler_to_matrix(np.array([3.0, 0.2, 0.5])), euler_to_matrix(np.array([2.8, -0.1, 0.9]))
    vector = rotation_error(first, second)
    angle = np.linalg.norm(vector)
    x, y, z = vector / angle
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rodrigues = np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew
    np.testing.assert_allclose(rodrigues @ first, second, atol=1e-9)


def test_inverse_kinematics_inverts_forward_kinematics_in_the_complete_workspace(
    kinematics: RedundantKinematics,
) -> None:
    rng = np.random.default_rng(2)
    corners = np.stack(np.meshgrid(*zip(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, strict=True)), -1).reshape(-1, 3)
    inside = rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, (60, 3))
    down = euler_to_matrix(np.array(DOWN_EULER_RAD))
    for target in np.concatenate([corners, inside]):
        result = kinematics.solve(target, down)
        assert result.converged
        assert (result.joints_rad > LOW).all()
        assert (result.joints_rad < HIGH).all()
        pose = published_tcp(result.joints_rad)
        np.testing.assert_allclose(pose[:3, 3], target, atol=2e-4)
        np.testing.assert_allclose(pose[:3, :3], down, atol=2e-3)


def test_configuration_depends_on_the_pose_not_on_the_seed(kinematics: RedundantKinematics) -> None:
    rng = np.random.default_rng(3)
    down = euler_to_matrix(np.array(DOWN_EULER_RAD))
    for target in rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, (20, 3)):
        from_home = kinematics.solve(target, down).joints_rad
        elsewhere = kinematics.solve(rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M), down).joints_rad
        np.testing.assert_allclose(kinematics.solve(target, down, elsewhere).joints_rad, from_home, atol=5e-3)


def test_unreachable_pose_is_reported_and_stays_within_limits(kinematics: RedundantKinematics) -> None:
    result = kinematics.solve(np.array([1.5, 0.0, 0.5]), np.eye(3))
    assert not result.converged
    assert result.position_error_m > 0.3
    assert (result.joints_rad >= LOW).all()
    assert (result.joints_rad <= HIGH).all()


def test_non_finite_target_is_refused(kinematics: RedundantKinematics) -> None:
    with pytest.raises(EnvError, match="every entry must be finite"):
        kinematics.solve(np.array([np.nan, 0.0, 0.0]), np.eye(3))
