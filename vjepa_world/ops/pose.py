r"""End-effector poses and the actions between them, in the convention of V-JEPA 2-AC.

Pose 7 = x y z [m], extrinsic xyz Euler angles [rad], gripper closure [0 open, 1 closed], robot base frame.
Action 7 = delta xyz, Euler angles of :math:`R_{t+1} R_t^\top`, delta closure. All functions are batched.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vjepa_world.ops.convention import LENGTHS_M, Convention
from vjepa_world.ops.rotations import (
    PoseError,
    euler_to_matrix,
    matrix_to_euler,
    rotation_matrix,
    write_rotation,
)

__all__ = [
    "POSE_SIZE",
    "PoseError",
    "apply_action",
    "compose_actions",
    "euler_to_matrix",
    "from_pose",
    "matrix_to_euler",
    "pose_delta",
    "rotation_matrix",
    "to_pose",
    "unwrap_angles",
    "write_rotation",
]

POSE_SIZE = 7

#: A closure that is outside of [0, 1] by at most this is a rounding error, and is clamped.
ROUNDING = 1e-4

_TURN = 2 * math.pi


def _check(name: str, value: Tensor) -> None:
    if value.shape[-1] != POSE_SIZE:
        raise PoseError(
            f"{name} has {value.shape[-1]} entries on its last axis; a pose has {POSE_SIZE}: x y z [m], "
            "extrinsic xyz Euler angles [rad], gripper closure. Reorder or pad the data."
        )
    if not bool(torch.isfinite(value).all()):
        raise PoseError(f"{name} holds a NaN or an infinity; remove or repair those rows.")


def apply_action(pose: Tensor, action: Tensor, *, wrap: bool = False) -> Tensor:
    r"""Return the pose after an action.

    Position [m] and closure are added, closure is clamped to [0, 1]; rotation is :math:`R_\Delta R`. The angles do not
    jump by full turns: a gripper that points down (first angle near pi) stays near pi.

    Args:
        pose: `[..., 7]`.
        action: `[..., 7]`.
        wrap: Whether angles are in [-pi, pi] instead, as in V-JEPA 2-AC's training.

    Returns:
        `[..., 7]`.
    """
    before = pose[..., 3:6]
    euler = matrix_to_euler(euler_to_matrix(action[..., 3:6]) @ euler_to_matrix(before))
    closure = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    if not wrap:
        euler = euler + _TURN * torch.round((before - euler) / _TURN)
    return torch.cat([pose[..., :3] + action[..., :3], euler, closure], dim=-1)


def pose_delta(start: Tensor, end: Tensor) -> Tensor:
    r"""Return the action that carries end-effector pose `start` to `end`.

    Rotation is a left difference in the base frame, :math:`R_\Delta = R_{end} R_{start}^\top`; position [m]
    and gripper closure are subtracted.

    Args:
        start: Poses, `[..., 7]`: x y z [m], extrinsic xyz Euler [rad], closure.
        end: Poses, the same shape.

    Returns:
        Actions, `[..., 7]`.

    Raises:
        PoseError: If the last axis is not 7 or an entry is not finite.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 3).
    """
    _check("start", start)
    _check("end", end)
    rotation = euler_to_matrix(end[..., 3:6]) @ euler_to_matrix(start[..., 3:6]).transpose(-1, -2)
    return torch.cat(
        [end[..., :3] - start[..., :3], matrix_to_euler(rotation), end[..., 6:] - start[..., 6:]], dim=-1
    )


def compose_actions(actions: Tensor) -> Tensor:
    r"""Return the composition of K actions, first to last, `[..., K, 7]` -> `[..., 7]`.

    :math:`R_\Delta = R_K \cdots R_1`; positions [m] and closures add up. An action of zeros changes nothing.
    """
    rotation = euler_to_matrix(actions[..., 0, 3:6])
    for k in range(1, actions.shape[-2]):
        rotation = euler_to_matrix(actions[..., k, 3:6]) @ rotation
    added = actions.sum(dim=-2)
    return torch.cat([added[..., :3], matrix_to_euler(rotation), added[..., 6:]], dim=-1)


def to_pose(states: Tensor, convention: Convention) -> Tensor:
    r"""Return the poses of states, in the convention of V-JEPA 2-AC (see the module).

    With the dataset's frame at :math:`(t_f, R_f)` in the robot's base, :math:`p = R_f p_s + t_f` and
    :math:`R = R_f R_s`; closure is :math:`(g - g_{open}) / (g_{closed} - g_{open})`, 0 without a gripper, and
    clamped to [0, 1] only if it is outside by a rounding error. Angles in this convention already are not converted.

    Args:
        states: `[..., S]`, floating point, in the dataset's convention.
        convention: The dataset's convention.

    Returns:
        Poses `[..., 7]` of the same type. Angles may jump by full turns, see :func:`unwrap_angles`.

    Raises:
        PoseError: If the convention has no pose, or indices that a state does not have; if an entry is not finite or
            no rotation.
    """
    _check_indices(states, convention)
    position = states[..., list(convention.position_at)] * LENGTHS_M[convention.position_unit]
    written = states[..., list(convention.rotation_at)]
    degrees = convention.angle_unit == "deg"
    shift, rotation = _frame(convention, states)
    if any(convention.frame):
        position = (rotation @ position.unsqueeze(-1)).squeeze(-1) + shift
    if convention.rotation == "xyz" and not any(convention.frame[3:]):
        angles = torch.deg2rad(written) if degrees else written
    else:
        angles = matrix_to_euler(rotation @ rotation_matrix(written, convention.rotation, degrees))
    pose = torch.cat([position, angles, _closure(states, convention)], dim=-1)
    _check("a state, read by its convention,", pose)
    return pose


def from_pose(pose: Tensor, convention: Convention) -> Tensor:
    """Return states that hold these poses: the inverse of :func:`to_pose`.

    Args:
        pose: `[..., 7]`, in the convention of V-JEPA 2-AC.
        convention: The dataset's convention.

    Returns:
        `[..., S]`, S the least size that has all of the convention's indices; other entries are 0. The gripper's value
        is divided evenly between fingers.

    Raises:
        PoseError: The convention has no pose, the last axis is not 7, or an entry is not finite.
    """
    _check("pose", pose)
    _check_has_pose(convention)
    shift, rotation = _frame(convention, pose)
    inverse = rotation.transpose(-1, -2)
    position = pose[..., :3]
    if any(convention.frame):
        position = (inverse @ (position - shift).unsqueeze(-1)).squeeze(-1)
    degrees = convention.angle_unit == "deg"
    if convention.rotation == "xyz" and not any(convention.frame[3:]):
        written = torch.rad2deg(pose[..., 3:6]) if degrees else pose[..., 3:6]
    else:
        written = write_rotation(inverse @ euler_to_matrix(pose[..., 3:6]), convention.rotation, degrees)
    opened, closed = convention.gripper_open, convention.gripper_closed
    fingers = len(convention.gripper_at)
    reading = (opened + pose[..., 6:] * (closed - opened)) / max(fingers, 1)
    indices = (*convention.position_at, *convention.rotation_at, *convention.gripper_at)
    states = pose.new_zeros(*pose.shape[:-1], max(indices) + 1)
    parts = [
        position / LENGTHS_M[convention.position_unit],
        written,
        reading.expand(*pose.shape[:-1], fingers),
    ]
    states[..., list(indices)] = torch.cat(parts, dim=-1)
    return states


def unwrap_angles(poses: Tensor) -> Tensor:
    """Return a sequence of poses `[..., T, 7]` with continuous angles, of the same shape.

    Full turns are added so that no angle changes by more than half a turn between poses; the first pose is unchanged.
    """
    angles = poses[..., 3:6]
    turns = -torch.round(angles.diff(dim=-2) / _TURN).cumsum(dim=-2)
    unwrapped = torch.cat([angles[..., :1, :], angles[..., 1:, :] + _TURN * turns], dim=-2)
    return torch.cat([poses[..., :3], unwrapped, poses[..., 6:]], dim=-1)


def _closure(states: Tensor, convention: Convention) -> Tensor:
    """Return the gripper's closure, `[..., 1]`."""
    if not convention.gripper_at:
        return torch.zeros_like(states[..., :1])
    reading = states[..., list(convention.gripper_at)].sum(dim=-1, keepdim=True)
    closure = (reading - convention.gripper_open) / (convention.gripper_closed - convention.gripper_open)
    inside = closure.clamp(0, 1)
    return torch.where((closure - inside).abs() <= ROUNDING, inside, closure)


def _frame(convention: Convention, like: Tensor) -> tuple[Tensor, Tensor]:
    """Return the position `[3]` [m] and the rotation `[3, 3]` of the dataset's frame in the robot's base."""
    frame = torch.tensor(convention.frame, dtype=like.dtype, device=like.device)
    return frame[:3], euler_to_matrix(frame[3:])


def _check_has_pose(convention: Convention) -> None:
    if not convention.has_pose:
        raise PoseError(
            "the convention has no pose (position_at is empty); name the indices of x, y and z in a state."
        )


def _check_indices(states: Tensor, convention: Convention) -> None:
    _check_has_pose(convention)
    for name in ("position_at", "rotation_at", "gripper_at"):
        outside = [index for index in getattr(convention, name) if not 0 <= index < states.shape[-1]]
        if outside:
            raise PoseError(
                f"{name} names index {outside[0]}, and a state has {states.shape[-1]} numbers, counted from 0; set "
                f"{name} to where they are."
            )
    if not states.is_floating_point():
        raise PoseError(f"states are {states.dtype}, expected floating point numbers; convert them before.")
