"""Poses against the exponential map: rotations about fixed axes as matrix exponentials, in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.pose import PoseError, apply_action, euler_to_matrix, matrix_to_euler, pose_delta


def exponential(axis_angle: Tensor) -> Tensor:
    """Return the rotation about a fixed axis by its length, `[..., 3]` -> `[..., 3, 3]`."""
    x, y, z = axis_angle.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))
    return torch.linalg.matrix_exp(cross)


def extrinsic_xyz(euler: Tensor) -> Tensor:
    """Turn about the fixed x axis first, then y, then z."""
    about_x, about_y, about_z = (
        exponential(euler[..., i : i + 1] * torch.eye(3).to(euler)[i]) for i in range(3)
    )
    return about_z @ about_y @ about_x


def random_poses(count: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    position = torch.randn(count, 3, generator=generator, dtype=dtype)
    angles = (2 * torch.rand(count, 3, generator=generator, dtype=dtype) - 1) * torch.tensor(
        [math.pi, math.pi / 2 - 0.01, math.pi], dtype=dtype
    )
    return torch.cat([position, angles, torch.rand(count, 1, generator=generator, dtype=dtype)], dim=-1)


def assert_same_pose(left: Tensor, right: Tensor, atol: float = 1e-9) -> None:
    torch.testing.assert_close(left[..., [0, 1, 2, 6]], right[..., [0, 1, 2, 6]], atol=atol, rtol=0)
    rotations = (extrinsic_xyz(left[..., 3:6]), extrinsic_xyz(right[..., 3:6]))
    torch.testing.assert_close(*rotations, atol=atol, rtol=0)


def test_euler_angles_turn_about_the_fixed_axes_x_then_y_then_z() -> None:
    angles = random_poses(200, 0)[:, 3:6] * 2
    torch.testing.assert_close(euler_to_matrix(angles), extrinsic_xyz(angles), atol=1e-12, rtol=0)


def test_matrix_to_euler_inverts_and_keeps_the_middle_angle_in_a_half_turn() -> None:
    axis_angles = torch.randn(500, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    rotation = exponential(axis_angles)
    angles = matrix_to_euler(rotation)
    assert angles[:, 1].abs().max() <= math.pi / 2
    torch.testing.assert_close(extrinsic_xyz(angles), rotation, atol=1e-9, rtol=0)
    inside = random_poses(200, 2)[:, 3:6]
    torch.testing.assert_close(matrix_to_euler(extrinsic_xyz(inside)), inside, atol=1e-9, rtol=0)


@pytest.mark.parametrize("sign", [-1, 1])
def test_rotations_are_exact_at_the_gimbal_lock(sign: int) -> None:
    for first in (-3.0, -0.4, 0.0, 1.1, 3.1):
        for last in (-2.0, 0.0, 0.7):
            angles = torch.tensor([first, sign * math.pi / 2, last], dtype=torch.float64)
            rotation = extrinsic_xyz(angles)
            found = matrix_to_euler(rotation)
            assert found[2] == 0
            torch.testing.assert_close(extrinsic_xyz(found), rotation, atol=1e-7, rtol=0)


@pytest.mark.parametrize("offset", [1e-2, 1e-3, 1e-4, 1e-6])
def test_near_the_gimbal_lock_the_error_stays_small_in_float32(offset: float) -> None:
    angles = torch.tensor([[0.8, s * (math.pi / 2 - offset), -1.3] for s in (-1, 1)], dtype=torch.float64)
    rotation = extrinsic_xyz(angles)
    found = matrix_to_euler(rotation.float()).double()
    assert (extrinsic_xyz(found) - rotation).abs().max() < 3e-3  # a sixth of a degree


def test_the_action_between_equal_poses_is_zero() -> None:
    poses = random_poses(50, 3)
    torch.testing.assert_close(pose_delta(poses, poses), torch.zeros_like(poses), atol=1e-12, rtol=0)
    assert_same_pose(apply_action(poses, torch.zeros_like(poses)), poses)


def test_applying_the_delta_gives_the_end_pose() -> None:
    start, end = random_poses(200, 4), random_poses(200, 5)
    assert_same_pose(apply_action(start, pose_delta(start, end)), end)


def test_deltas_invert_and_compose() -> None:
    a, b, c = (random_poses(100, seed) for seed in (6, 7, 8))
    there, back = pose_delta(a, b), pose_delta(b, a)
    torch.testing.assert_close(there[:, [0, 1, 2, 6]], -back[:, [0, 1, 2, 6]])
    turn, turn_back = extrinsic_xyz(there[:, 3:6]), extrinsic_xyz(back[:, 3:6])
    torch.testing.assert_close(turn, turn_back.transpose(1, 2), atol=1e-9, rtol=0)
    direct, onward = pose_delta(a, c), pose_delta(b, c)
    torch.testing.assert_close(direct[:, :3], there[:, :3] + onward[:, :3])
    torch.testing.assert_close(
        extrinsic_xyz(direct[:, 3:6]), extrinsic_xyz(onward[:, 3:6]) @ turn, atol=1e-9, rtol=0
    )


def test_rotation_is_a_left_difference_in_the_base_frame() -> None:
    """A gripper turned a quarter about z, then rolled about the *base's* x axis."""
    quarter = torch.tensor([0.0, 0, 0, 0, 0, math.pi / 2, 0], dtype=torch.float64)
    roll = torch.tensor([0.0, 0, 0, 0.3, 0, 0, 0], dtype=torch.float64)
    x_axis, z_axis = torch.eye(3, dtype=torch.float64)[[0, 2]]
    expected = exponential(0.3 * x_axis) @ exponential(math.pi / 2 * z_axis)
    after = apply_action(quarter, roll)
    torch.testing.assert_close(extrinsic_xyz(after[3:6]), expected, atol=1e-12, rtol=0)
    torch.testing.assert_close(pose_delta(quarter, after), roll, atol=1e-12, rtol=0)


@pytest.mark.parametrize("side", [-1.0, 1.0])
@pytest.mark.parametrize("axis", [3, 5])
def test_an_angle_near_pi_does_not_jump_by_a_full_turn(side: float, axis: int) -> None:
    """A gripper that points down is rolled (or one that looks back is yawed) past half a turn."""
    pose = torch.tensor([0.4, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0])
    pose[axis] = side * (math.pi - 0.02)
    step = torch.zeros(7)
    step[axis] = side * 0.05
    for count in range(1, 41):
        pose = apply_action(pose, step)
        assert float(pose[axis]) == pytest.approx(side * (math.pi - 0.02 + 0.05 * count), abs=1e-3)


def test_tilting_a_gripper_that_points_down_changes_the_angles_continuously() -> None:
    pose = torch.tensor([0.4, 0.0, 0.3, math.pi - 0.01, 0.02, -math.pi + 0.01, 0.0])
    generator = torch.Generator().manual_seed(11)
    for _ in range(200):
        action = torch.cat([torch.zeros(3), 0.05 * torch.randn(3, generator=generator), torch.zeros(1)])
        after = apply_action(pose, action)
        assert (after[3:6] - pose[3:6]).abs().max() < 1.0
        if abs(float(after[4])) < 1.2:  # on the way to the gimbal lock angles may run
            pose = after


def test_closure_adds_up_and_stays_between_open_and_closed() -> None:
    pose = torch.zeros(3, 7)
    pose[:, 6] = torch.tensor([0.2, 0.9, 0.1])
    action = torch.zeros(3, 7)
    action[:, 6] = torch.tensor([0.3, 0.4, -0.5])
    torch.testing.assert_close(apply_action(pose, action)[:, 6], torch.tensor([0.5, 1.0, 0.0]))


def test_any_leading_shape_is_accepted() -> None:
    start, end = random_poses(12, 9).view(3, 4, 7), random_poses(12, 10).view(3, 4, 7)
    assert torch.equal(pose_delta(start, end).view(12, 7), pose_delta(start.view(12, 7), end.view(12, 7)))


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        (
            "start",
            torch.zeros(4, 6),
            r"start has 6 entries on its last axis; a pose has 7: x y z \[m\].*Reorder or pad",
        ),
        ("end", torch.zeros(4, 8), "end has 8 entries on its last axis"),
        (
            "start",
            torch.full((4, 7), math.nan),
            "start holds a NaN or an infinity; remove or repair those rows",
        ),
        ("end", torch.full((4, 7), math.inf), "end holds a NaN or an infinity"),
    ],
)
def test_an_invalid_pose_is_reported(name: str, bad: Tensor, message: str) -> None:
    poses = {"start": torch.zeros(4, 7), "end": torch.zeros(4, 7), name: bad}
    with pytest.raises(PoseError, match=message):
        pose_delta(**poses)
