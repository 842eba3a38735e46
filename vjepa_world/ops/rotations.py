r"""Rotation matrices, and conversions from and to the representations of :data:`vjepa_world.ops.convention.ROTATIONS`.

Legend: a rotation :math:`R` maps vectors of the body's frame to the base frame, its columns are the body's axes;
:math:`R_i(\theta)` rotates about axis i. All functions are batched, in closed form, and return the input's dtype.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vjepa_world.errors import VJEPAWorldError, nearest
from vjepa_world.ops.convention import ROTATIONS

#: Shorter than this, a quaternion or a column has no direction.
_NO_LENGTH = 1e-6

#: A full turn in a unit of angles.
FULL_TURN = {"rad": 2 * math.pi, "deg": 360.0}


class PoseError(VJEPAWorldError):
    """A pose, a rotation or an action has the wrong size, or an entry that cannot be used."""


def rotation_matrix(values: Tensor, rotation: str, degrees: bool = False) -> Tensor:
    r"""Return the rotation matrices of rotations in some representation.

    Args:
        values: `[..., K]`, K numbers each: Euler angles in the order of their letters (lower case rotates about
            the fixed axes, upper case about the moving ones), a rotation vector (axis times angle), a quaternion of any
            length but 0, or the matrix's first two columns, which are orthonormalised (Gram-Schmidt, first column
            first). `none` has no numbers and is the identity.
        rotation: One of `ROTATIONS`.
        degrees: Whether angles and rotation vectors are in degrees and not in radians; others have no angles.

    Returns:
        `[..., 3, 3]`.

    Raises:
        PoseError: If there is no such representation, the last axis is not K, or an entry has no direction.

    Source:
        Rotation vectors: Rodrigues' formula. Columns: Zhou et al., arXiv:1812.07035.
    """
    _check_size(values, rotation)
    if rotation == "none":
        return torch.eye(3, dtype=values.dtype, device=values.device).expand(*values.shape[:-1], 3, 3)
    if rotation == "quat_xyzw":
        return _from_quaternion(values.roll(1, dims=-1))
    if rotation == "quat_wxyz":
        return _from_quaternion(values)
    if rotation == "rot6d":
        return _from_columns(values)
    angles = torch.deg2rad(values) if degrees else values
    return _from_vector(angles) if rotation == "rotvec" else euler_to_matrix(angles, rotation)


def write_rotation(matrix: Tensor, rotation: str, degrees: bool = False) -> Tensor:
    """Return rotations `[..., 3, 3]` in a representation, `[..., K]`; see :func:`rotation_matrix`.

    Where several are equal, it is the one with the middle Euler angle in [-pi/2, pi/2], a quaternion with w >= 0, and a
    rotation vector of at most half a turn.

    Raises:
        PoseError: If there is no such representation, or the last two axes are not 3.
    """
    _check_kind(rotation)
    if matrix.shape[-2:] != (3, 3):
        raise PoseError(f"rotations have shape {tuple(matrix.shape)}, expected [..., 3, 3].")
    if rotation == "none":
        return matrix.new_empty(*matrix.shape[:-2], 0)
    if rotation == "quat_xyzw":
        return _to_quaternion(matrix).roll(-1, dims=-1)
    if rotation == "quat_wxyz":
        return _to_quaternion(matrix)
    if rotation == "rot6d":
        return torch.cat([matrix[..., 0], matrix[..., 1]], dim=-1)
    angles = _to_vector(matrix) if rotation == "rotvec" else matrix_to_euler(matrix, rotation)
    return torch.rad2deg(angles) if degrees else angles


def euler_to_matrix(euler: Tensor, order: str = "xyz") -> Tensor:
    r"""Return the rotations of Euler angles (a, b, c) [rad], `[..., 3]` -> `[..., 3, 3]`.

    Lower case, about fixed axes: `xyz` is :math:`R_z(c) R_y(b) R_x(a)`. Upper case, about the moving ones: `XYZ` is
    :math:`R_x(a) R_y(b) R_z(c)`. The other orders are these with the axes renamed; if that mirrors space, every
    rotation changes its sense.
    """
    axes, sense = _axes(order)
    fixed = euler if order.islower() else euler.flip(-1)
    (ca, cb, cc), (sa, sb, sc) = fixed.cos().unbind(-1), (sense * fixed.sin()).unbind(-1)
    rows = [
        torch.stack([cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa], dim=-1),
        torch.stack([sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa], dim=-1),
        torch.stack([-sb, cb * sa, cb * ca], dim=-1),
    ]
    indices = [axes.index(axis) for axis in range(3)]
    return torch.stack(rows, dim=-2)[..., indices, :][..., indices]


def matrix_to_euler(matrix: Tensor, order: str = "xyz") -> Tensor:
    r"""Return the Euler angles [rad] of rotations, `[..., 3, 3]` -> `[..., 3]`, the middle one in [-pi/2, pi/2].

    For `xyz`, :math:`R = R_z(c) R_y(b) R_x(a)`: :math:`\tan c = R_{21} / R_{11}`,
    :math:`\tan b = -R_{31} / \sqrt{R_{11}^2 + R_{21}^2}`, and a from the second row of :math:`R_z(c)^\top R`, which is
    (0, cos a, -sin a). So the three give the rotation back at the gimbal lock too (middle angle +-pi/2), where the
    last rotation about a fixed axis, the first about a moving one, is set to zero.
    """
    axes, sense = _axes(order)
    ((r11, r12, r13), (r21, r22, r23), (r31, _, _)) = (
        row.unbind(-1) for row in matrix[..., axes, :][..., axes].unbind(-2)
    )
    flat = torch.hypot(r11, r21)
    locked = flat < 100 * torch.finfo(matrix.dtype).eps
    last = torch.where(locked, torch.zeros_like(flat), torch.atan2(r21, r11))
    sine, cosine = last.sin(), last.cos()
    first = torch.atan2(sine * r13 - cosine * r23, cosine * r22 - sine * r12)
    angles = sense * torch.stack([first, torch.atan2(-r31, flat), last], dim=-1)
    return angles if order.islower() else angles.flip(-1)


def shortest_changes(changes: Tensor, units: Sequence[str]) -> Tensor:
    """Return changes of joint positions with angles changing by at most half a turn.

    A joint whose angle is read from -180 to 180 degrees jumps from one end to the other while it moves on, and no joint
    makes half a turn from one row to the next.

    Args:
        changes: From row to row, `[..., J]`, in the joints' units.
        units: One for each of the J joints; those that are not angles stay as they are.

    Returns:
        `[..., J]`, in the joints' units.
    """
    turns = changes.new_tensor([FULL_TURN.get(unit, math.inf) for unit in units])
    whole = torch.round(changes / turns)
    return torch.where(whole == 0, changes, changes - whole * turns.nan_to_num(posinf=0.0))


def _axes(order: str) -> tuple[list[int], float]:
    """Return the axes in the order of rotations about fixed ones, and -1 if renaming x y z so mirrors space."""
    axes = ["xyz".index(letter) for letter in (order if order.islower() else order[::-1].lower())]
    return axes, 1.0 if (axes[1] - axes[0]) % 3 == 1 else -1.0


def _cross(vector: Tensor) -> Tensor:
    r"""Return :math:`[v]_\times`, `[..., 3]` -> `[..., 3, 3]`."""
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    return torch.stack([o, -z, y, z, o, -x, -y, x, o], dim=-1).unflatten(-1, (3, 3))


def _from_vector(vector: Tensor) -> Tensor:
    r"""Return :math:`I + \frac{\sin\theta}{\theta} K + \frac{1 - \cos\theta}{\theta^2} K^2` (Rodrigues)."""
    angle = torch.linalg.vector_norm(vector, dim=-1)[..., None, None]
    cross = _cross(vector)
    # (1 - cos t) / t^2 = sinc(t / 2)^2 / 2 loses nothing at small angles; torch.sinc has the pi inside.
    curve = 0.5 * torch.sinc(angle / (2 * math.pi)).square()
    eye = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return eye + torch.sinc(angle / math.pi) * cross + curve * (cross @ cross)


def _to_vector(matrix: Tensor) -> Tensor:
    w, vector = _to_quaternion(matrix).split([1, 3], dim=-1)
    length = torch.linalg.vector_norm(vector, dim=-1, keepdim=True)
    small = length < _NO_LENGTH
    ratio = 2 * torch.atan2(length, w) / torch.where(small, torch.ones_like(length), length)
    return vector * torch.where(small, torch.full_like(ratio, 2.0), ratio)


def _from_quaternion(wxyz: Tensor) -> Tensor:
    r"""Return :math:`I + 2 w [v]_\times + 2 [v]_\times^2` of the quaternion (w, v) at unit length."""
    w, vector = _unit(wxyz, "a quaternion").split([1, 3], dim=-1)
    cross = _cross(vector)
    eye = torch.eye(3, dtype=wxyz.dtype, device=wxyz.device)
    return eye + 2 * w.unsqueeze(-1) * cross + 2 * cross @ cross


def _to_quaternion(matrix: Tensor) -> Tensor:
    r"""Return (w, x, y, z) with w >= 0.

    The row of :math:`4 q q^\top`, which is linear in R, with the largest diagonal is q up to its length (Shepperd).
    """
    ((xx, xy, xz), (yx, yy, yz), (zx, zy, zz)) = (row.unbind(-1) for row in matrix.unbind(-2))
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, zy - yz, xz - zx, yx - xy], dim=-1),
            torch.stack([zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx], dim=-1),
            torch.stack([xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy], dim=-1),
            torch.stack([yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    row = row / torch.linalg.vector_norm(row, dim=-1, keepdim=True)
    return torch.where(row[..., :1] < 0, -row, row)


def _from_columns(values: Tensor) -> Tensor:
    first = _unit(values[..., :3], "a first column")
    rest = values[..., 3:] - (first * values[..., 3:]).sum(-1, keepdim=True) * first
    second = _unit(rest, "a second column, less its share along the first,")
    return torch.stack([first, second, torch.linalg.cross(first, second)], dim=-1)


def _unit(vectors: Tensor, what: str) -> Tensor:
    length = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    short = (length.squeeze(-1) < _NO_LENGTH).nonzero()
    if len(short):
        raise PoseError(
            f"{what} has length 0 at {short[0].tolist()} and is not a rotation; repair those rows, or name the right "
            "indices with rotation_at."
        )
    return vectors / length


def _check_kind(rotation: str) -> None:
    if rotation not in ROTATIONS:
        raise PoseError(f"rotation '{rotation}' is not known; {nearest(rotation, ROTATIONS)}")


def _check_size(values: Tensor, rotation: str) -> None:
    _check_kind(rotation)
    if values.shape[-1:] != (ROTATIONS[rotation],):
        raise PoseError(
            f"rotations have shape {tuple(values.shape)}, and {rotation} is written in {ROTATIONS[rotation]} numbers "
            "on the last axis; name as many indices, or another representation."
        )
