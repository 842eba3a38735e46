"""What the numbers of an action are called, in which units they are shown, and which action is no motion."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.ops.pose import POSE_SIZE, euler_to_matrix

#: Where a pose delta holds its position and its rotation.
POSITION, ROTATION = slice(0, 3), slice(3, 6)

#: What errors of whole actions are called; no axis is.
ERRORS_OF_ALL_AXES = ("position_cm", "rotation_deg", "gripper", "distance")


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


@dataclass(frozen=True)
class ActionSpace:
    """What actions are.

    Attributes:
        axes: One for each number.
        is_pose: Whether they are pose deltas: metres, radians, closure.
        meaning: delta (zeros are no motion), target (as the states are), or given: not known.
        of_joints: Whether they are of a robot's joints.
        is_named: Whether the axes have names of their own, and not just numbers.
    """

    axes: tuple[Axis, ...] = field(repr=False)
    is_pose: bool
    meaning: str
    of_joints: bool = False
    is_named: bool = False

    def hold(self, states: Tensor) -> Tensor | None:
        """Return the actions that leave robots in `states [W, S]` where they are, `[W, A]`; None where nobody knows."""
        size = len(self.axes)
        if self.meaning == "delta":
            return states.new_zeros(len(states), size)
        if self.meaning == "target" and states.shape[1] == size:
            return states.clone()
        return None

    @property
    def why_no_hold(self) -> str:
        """Why the baseline of no motion is left out, where it is."""
        if self.meaning == "target":
            return "left out: actions are targets, and the state does not have their numbers"
        return "left out: the data does not say what an action is (declare data.convention.actions)"

    @property
    def unit(self) -> str:
        """The unit of all axes, empty where they have several."""
        units = {axis.unit for axis in self.axes}
        return units.pop() if len(units) == 1 else ""


def action_space(size: int, robot: EmbodimentConfig | None = None) -> ActionSpace:
    """Return the space of actions of a robot; without one, of 7 numbers pose deltas, of others nothing is known."""
    robot = robot or EmbodimentConfig(action_dim=size, state_dim=size)
    if robot.state_meaning == "pose" and robot.action_meaning == "delta" and size == POSE_SIZE:
        return ActionSpace(_POSE, True, "delta")
    units: Sequence[str] = robot.action_units or [""] * size
    axes = tuple(
        Axis(name, unit, 1.0)
        for name, unit in zip(_distinct_names(robot.action_names or [""] * size), units, strict=True)
    )
    return ActionSpace(
        axes, False, robot.action_meaning, robot.state_meaning == "joints", any(robot.action_names)
    )


def _distinct_names(names: Sequence[str]) -> list[str]:
    """Return a name for each number, all different: figures are kept by them. Nameless ones are counted from 0."""
    found: list[str] = []
    for number, name in enumerate(names):
        distinct = name.strip() or f"action {number}"
        if distinct in found or distinct in ERRORS_OF_ALL_AXES or names.count(name) > 1:
            distinct = f"{distinct} (action {number})" if name.strip() else distinct
        while distinct in found:
            distinct += "'"
        found.append(distinct)
    return found


def space_of(model: object) -> ActionSpace:
    """Return the space of a world model's actions: of its robot, where it has one."""
    low: Tensor = model.action_low  # type: ignore[attr-defined]
    return action_space(len(low), getattr(model, "robot", None))


def rotation_angle(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the angle of the rotation between two, [rad], of extrinsic xyz Euler angles `[..., 3]`.

    .. math:: \theta = \mathrm{atan2}(\tfrac12 \lVert R - R^\top \rVert_F / \sqrt2, (\mathrm{tr} R - 1) / 2),
              \quad R = R_2 R_1^\top
    """
    between = euler_to_matrix(second.double()) @ euler_to_matrix(first.double()).transpose(-1, -2)
    sine = (between - between.transpose(-1, -2)).flatten(-2).norm(dim=-1) / (2 * math.sqrt(2))
    cosine = (between.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.atan2(sine, cosine)
