"""What the numbers of an action are called, and in which units they are shown."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa_world.ops.pose import POSE_SIZE, euler_to_matrix

#: Where a pose delta holds its position and its rotation.
POSITION, ROTATION = slice(0, 3), slice(3, 6)


@dataclass(frozen=True)
class Axis:
    """One number of an action: its name, the unit it is shown in, and how many of those are one of the data's."""

    name: str
    unit: str
    scale: float

    @property
    def label(self) -> str:
        """Name and unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


_POSE = (
    *(Axis(name, "cm", 100.0) for name in ("x", "y", "z")),
    *(Axis(name, "deg", 180 / math.pi) for name in ("roll", "pitch", "yaw")),
    Axis("gripper", "", 1.0),
)


def is_pose(size: int) -> bool:
    """Return whether actions of this size are pose deltas: metres, radians, closure."""
    return size == POSE_SIZE


def action_axes(size: int) -> tuple[Axis, ...]:
    """Return the axes of actions of a size: those of a pose delta, or numbered ones without a unit."""
    return _POSE if is_pose(size) else tuple(Axis(f"action {k}", "", 1.0) for k in range(size))


def rotation_angle(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the angle of the rotation between two, [rad], of extrinsic xyz Euler angles `[..., 3]`.

    .. math:: \theta = \mathrm{atan2}(\tfrac12 \lVert R - R^\top \rVert_F / \sqrt2, (\mathrm{tr} R - 1) / 2),
              \quad R = R_2 R_1^\top
    """
    between = euler_to_matrix(second.double()) @ euler_to_matrix(first.double()).transpose(-1, -2)
    sine = (between - between.transpose(-1, -2)).flatten(-2).norm(dim=-1) / (2 * math.sqrt(2))
    cosine = (between.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.atan2(sine, cosine)
