"""Names and units of the axes of an action, and the action that holds the robot still.

Legend: A action size, S state size, W windows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.ops.pose import POSE_SIZE, euler_to_matrix

#: Slices of position and rotation in a pose delta.
POSITION, ROTATION = slice(0, 3), slice(3, 6)

#: Names of the errors of whole actions; no axis may have one of them.
ERRORS_OF_ALL_AXES = ("position_cm", "rotation_deg", "gripper", "distance")


@dataclass(frozen=True)
class Axis:
    """One axis of an action: its name, the unit it is shown in, and the factor from the data's unit to that one."""

    name: str
    unit: str
    scale: float

    @property
    def label(self) -> str:
        """The name with the unit."""
        return f"{self.name} [{self.unit}]" if self.unit else self.name


_POSE = (
    *(Axis(name, "cm", 100.0) for name in ("x", "y", "z")),
    *(Axis(name, "deg", 180 / math.pi) for name in ("roll", "pitch", "yaw")),
    Axis("gripper", "", 1.0),
)


@dataclass(frozen=True)
class ActionSpace:
    """The axes of an action and their meaning.

    Attributes:
        axes: A axes.
        is_pose: Whether actions are pose deltas: metres, radians, closure.
        meaning: delta (zeros mean no motion), target (the next state), or given (not known).
        of_joints: Whether actions move the joints of a robot.
        is_named: Whether the data names the axes.
    """

    axes: tuple[Axis, ...] = field(repr=False)
    is_pose: bool
    meaning: str
    of_joints: bool = False
    is_named: bool = False

    def hold(self, states: Tensor) -> Tensor | None:
        """Return the actions `[W, A]` that hold robots in `states [W, S]` still, or None if they are not known."""
        size = len(self.axes)
        if self.meaning == "delta":
            return states.new_zeros(len(states), size)
        if self.meaning == "target" and states.shape[1] == size:
            return states.clone()
        return None

    @property
    def why_no_hold(self) -> str:
        """The reason why the baseline of no motion is left out, if :meth:`hold` gives None."""
        if self.meaning == "choice":
            return "left out: actions are choices, and none is known to be one of no motion"
        if self.meaning == "target":
            return "left out: actions are targets, and the state does not have their numbers"
        return "left out: the data does not say what an action is (declare data.convention.actions)"

    @property
    def unit(self) -> str:
        """The unit of all axes; empty if they have several."""
        units = {axis.unit for axis in self.axes}
        return units.pop() if len(units) == 1 else ""


def action_space(size: int, robot: EmbodimentConfig | None = None) -> ActionSpace:
    """Return the action space of a robot; without one, 7 numbers are pose deltas and others have no meaning."""
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
    """Return a different name for each axis, as metrics are stored by them. Axes without a name are numbered from 0."""
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
    """Return the action space of a world model: its robot's, if it has one."""
    low: Tensor = model.action_low  # type: ignore[attr-defined]
    return action_space(len(low), getattr(model, "robot", None))


def rotation_angle(first: Tensor, second: Tensor) -> Tensor:
    r"""Return the angle [rad] between two rotations, given as extrinsic xyz Euler angles.

    .. math:: \theta = \mathrm{atan2}(\tfrac12 \lVert R - R^\top \rVert_F / \sqrt2, (\mathrm{tr} R - 1) / 2),
              \quad R = R_2 R_1^\top

    Args:
        first: Euler angles [rad], `[..., 3]`.
        second: The same.

    Returns:
        Angles from 0 to pi, float64 `[...]`.
    """
    between = euler_to_matrix(second.double()) @ euler_to_matrix(first.double()).transpose(-1, -2)
    sine = (between - between.transpose(-1, -2)).flatten(-2).norm(dim=-1) / (2 * math.sqrt(2))
    cosine = (between.diagonal(dim1=-2, dim2=-1).sum(dim=-1) - 1) / 2
    return torch.atan2(sine, cosine)
