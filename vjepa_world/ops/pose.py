r"""End-effector poses and the actions between them, in the convention of V-JEPA 2-AC.

Pose 7 = x y z [m], extrinsic xyz Euler angles [rad], gripper closure [0 open, 1 closed], robot base frame.
Action 7 = delta xyz, Euler angles of :math:`R_{t+1} R_t^\top`, delta closure. All functions are batched.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vjepa_world.errors import VJEPAWorldError

POSE_SIZE = 7


class PoseError(VJEPAWorldError):
    """A pose or action has the wrong size or an entry that is not finite."""


def _check(name: str, value: Tensor) -> None:
    if value.shape[-1] != POSE_SIZE:
        raise PoseError(
            f"{name} has {value.shape[-1]} entries on its last axis; a pose has {POSE_SIZE}: x y z [m], "
            "extrinsic xyz Euler angles [rad], gripper closure. Reorder or pad the data."
        )
    if not bool(torch.isfinite(value).all()):
        raise PoseError(f"{name} holds a NaN or an infinity; remove or repair those rows.")


def euler_to_matrix(euler: Tensor) -> Tensor:
    r"""Return :math:`R = R_z(c) R_y(b) R_x(a)` of extrinsic xyz angles (a, b, c), `[..., 3]` -> `[..., 3, 3]`."""
    cos, sin = euler.cos(), euler.sin()
    (ca, cb, cc), (sa, sb, sc) = cos.unbind(-1), sin.unbind(-1)
    rows = [
        torch.stack([cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa], dim=-1),
        torch.stack([sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa], dim=-1),
        torch.stack([-sb, cb * sa, cb * ca], dim=-1),
    ]
    return torch.stack(rows, dim=-2)


def matrix_to_euler(matrix: Tensor) -> Tensor:
    """Return the extrinsic xyz angles of rotations, `[..., 3, 3]` -> `[..., 3]`, the middle one in [-pi/2, pi/2].

    At the gimbal lock (middle angle +-pi/2) the last angle is set to zero.
    """
    sine = (-matrix[..., 2, 0]).clamp(-1, 1)
    locked = sine.abs() > 1 - 1e-6
    first = torch.atan2(matrix[..., 2, 1], matrix[..., 2, 2])
    first_locked = torch.atan2(-matrix[..., 1, 2], matrix[..., 1, 1])
    last = torch.atan2(matrix[..., 1, 0], matrix[..., 0, 0])
    return torch.stack(
        [
            torch.where(locked, first_locked, first),
            sine.asin(),
            torch.where(locked, last.new_zeros(()), last),
        ],
        dim=-1,
    )


def apply_action(pose: Tensor, action: Tensor, *, wrap: bool = False) -> Tensor:
    r"""Return the pose that `action` leads to from `pose`, both `[..., 7]`; closure is kept in [0, 1].

    Position [m] and closure are added; rotation is :math:`R_\Delta R`. The angles do not jump by full turns: a
    gripper that points down (first angle near pi) stays near pi. With `wrap` they stay in [-pi, pi] instead, which is
    what V-JEPA 2-AC was trained with.
    """
    before = pose[..., 3:6]
    euler = matrix_to_euler(euler_to_matrix(action[..., 3:6]) @ euler_to_matrix(before))
    closure = (pose[..., 6:] + action[..., 6:]).clamp(0, 1)
    if not wrap:
        euler = euler + 2 * math.pi * torch.round((before - euler) / (2 * math.pi))
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
