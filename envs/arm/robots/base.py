"""What a robot is: everything that the arm's control, the scene and the tasks need to know of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import mujoco
import numpy as np

from envs.arm.limits import ACTION_HIGH, Workspace
from envs.arm.robots.packages import Package

#: What the names of a robot's parts begin with in the model of a scene.
ROBOT_PREFIX: Final = "robot/"
#: Contact type of the geoms of a robot that touch things.
TOUCHING_CONTYPE: Final = 2


@dataclass(frozen=True, kw_only=True)
class WristCamera:
    """A camera on the hand, in the hand's frame.

    Attributes:
        position_m: Where it is.
        right_and_up: Which directions `[3]` and `[3]` are right and up in the picture, one after the other.
        fovy_deg: Vertical field of view.
    """

    position_m: tuple[float, float, float]
    right_and_up: tuple[float, float, float, float, float, float]
    fovy_deg: float = 75.0


@dataclass(frozen=True, kw_only=True)
class Gripper:
    """The joints of a gripper, which move between open and closed in proportion to its closure.

    Attributes:
        open: Coordinate of each joint when it is open [m or rad].
        closed: The same when it is closed.
        meets_m: Where the closed fingers are, in the frame of the TCP.
    """

    open: tuple[float, ...]
    closed: tuple[float, ...]
    meets_m: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def joints(self, closure: float) -> np.ndarray:
        """Return the coordinates `[G]` at a closure [0 open, 1 closed]."""
        return (1 - closure) * np.array(self.open) + closure * np.array(self.closed)

    def closure(self, joints: np.ndarray) -> float:
        """Return the closure of coordinates `[G]`."""
        opened = (joints - np.array(self.closed)).sum() / (np.array(self.open) - np.array(self.closed)).sum()
        return min(1.0, max(0.0, 1.0 - float(opened)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Robot:
    """An arm with a gripper.

    Its spec has the arm's joints and then the gripper's, and an actuator for each in the same order; the bodies `hand`,
    `finger_left` and `finger_right`, with contacts where `contype` is `TOUCHING_CONTYPE`; the site `tcp` (z along the
    fingers, y from one to the other); the material `arm`, whose colour a scene chooses.

    Attributes:
        name: Its short name.
        summary: One line for listings.
        make_spec: Returns a new spec of it, with its base at the origin.
        joint_low_rad: Lower limits of the arm's joints.
        joint_high_rad: Upper limits of them.
        torque_limit_nm: Largest torque of each.
        speed_limit_rad_s: Largest speed of each.
        home_rad: The posture that inverse kinematics starts from; the hand points down.
        gripper: Its gripper.
        wrist_camera: The camera on its hand.
        scale: Size of its scenes and actions, relative to those of an arm with a reach of 0.85 m. Tasks are defined at
            scale 1: workspace, objects, distances and cameras are multiplied by it.
        holds_rotation: Whether it can turn the hand at any position of the workspace. If not, the position is reached
            and the rotation is as near as it gets.
        joint_margin_rad: Distance that inverse kinematics keeps from the limits of the joints, for servos that
            overshoot.
        keeps_speeds: Whether no joint exceeds its speed in any task, or only in tasks that ask for it.
        package: The package that its model is in; None if it is in this one.
    """

    name: str
    summary: str
    make_spec: Callable[[], mujoco.MjSpec]
    joint_low_rad: tuple[float, ...]
    joint_high_rad: tuple[float, ...]
    torque_limit_nm: tuple[float, ...]
    speed_limit_rad_s: tuple[float, ...]
    home_rad: tuple[float, ...]
    gripper: Gripper
    wrist_camera: WristCamera
    scale: float = 1.0
    holds_rotation: bool = True
    joint_margin_rad: float = 0.03
    keeps_speeds: bool = True
    package: Package | None = None

    @property
    def is_available(self) -> bool:
        """Whether its model is installed."""
        return self.package is None or self.package.is_installed

    @property
    def num_joints(self) -> int:
        """Joints of the arm, without the gripper's."""
        return len(self.home_rad)

    @property
    def arm(self) -> slice:
        """Where the arm's joints are in the coordinates, speeds and controls."""
        return slice(0, self.num_joints)

    @property
    def fingers(self) -> slice:
        """Where the gripper's joints are in the coordinates, speeds and controls."""
        return slice(self.num_joints, self.num_joints + len(self.gripper.open))

    @property
    def action_high(self) -> np.ndarray:
        """The largest action, float32 `[7]`: delta x y z [m], Euler angles [rad], delta closure."""
        return (ACTION_HIGH * ([self.scale] * 3 + [1.0] * 4)).astype(np.float32)

    def workspace(self, nominal: Workspace) -> Workspace:
        """Return a task's workspace for this robot."""
        return replace(
            nominal,
            command_low_m=nominal.command_low_m * self.scale,
            command_high_m=nominal.command_high_m * self.scale,
            overshoot_m=nominal.overshoot_m * self.scale,
            keeps_speeds=nominal.keeps_speeds or self.keeps_speeds,
            clearance_m=None if nominal.clearance_m is None else nominal.clearance_m * self.scale,
        )


def add_contact(
    body: mujoco.MjsBody,
    position_m: Sequence[float],
    half_size_m: Sequence[float],
    quaternion: Sequence[float] = (1.0, 0.0, 0.0, 0.0),
) -> None:
    """Add an invisible box that touches things to a body: its centre, half extents and rotation (wxyz) there."""
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=position_m,
        quat=quaternion,
        size=half_size_m,
        mass=0.0,
        group=3,
        contype=TOUCHING_CONTYPE,
        conaffinity=1,
    )
