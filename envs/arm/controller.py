"""The arm under end-effector control at 4 Hz: actions in, physics, measured poses out.

Gravity acts on the arm and is compensated by its motors, as on the real one: the compensating torque is
part of what the joints' torque limits bound.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from envs.arm.kinematics import Kinematics, RedundantKinematics
from envs.arm.limits import MAX_JOINT_STEP_RAD, MAX_TILT_RAD, Workspace
from envs.arm.model import TIMESTEP_S
from envs.arm.position_first import PositionFirstKinematics
from envs.arm.robots.base import ROBOT_PREFIX, TOUCHING_CONTYPE, Robot
from envs.arm.rotations import euler_to_matrix, matrix_to_euler, rotation_error

CONTROL_HZ: Final = 4
SUBSTEPS: Final = round(1 / (CONTROL_HZ * TIMESTEP_S))
#: The joint targets move during this share of the control interval and are constant for the rest of it.
TRAVEL_SHARE: Final = 0.72

#: Extrinsic xyz Euler angles of the hand pointing straight down.
DOWN_EULER_RAD: Final = (np.pi, 0.0, 0.0)

#: Shares of an action that are tried, the largest first, until no joint has to exceed its speed.
_SHARES: Final = (1.0, 0.8, 0.6, 0.45, 0.3, 0.15, 0.0)
#: A minimum-jerk move is 15/8 times as fast in its middle as on average; servos overshoot that a little.
_STEP_PER_SPEED_S: Final = 0.9 * (TRAVEL_SHARE / CONTROL_HZ) * 8 / 15

_DOWN: Final = euler_to_matrix(np.array(DOWN_EULER_RAD))


@dataclass(frozen=True, kw_only=True)
class Command:
    """The result of one action.

    Attributes:
        position_m: Commanded TCP position `[3]`, after clipping to the workspace.
        workspace_clipped: Whether the clipping, or the height that the hand keeps above the table, changed it.
        reached: Whether the joints can reach it; if not, the arm does not move.
    """

    position_m: np.ndarray
    workspace_clipped: bool
    reached: bool


class ArmController:
    """Drives the arm of one model and data; it has no randomness.

    Args:
        model: The compiled arm.
        data: Its state, which this class advances.
        workspace: Where the TCP may be sent.
        robot: What the arm is.
    """

    def __init__(
        self, model: mujoco.MjModel, data: mujoco.MjData, workspace: Workspace, robot: Robot
    ) -> None:
        self._model, self._data, self._workspace, self._robot = model, data, workspace, robot
        self._kinematics = kinematics_of(model, robot)
        self._site = model.site("robot/tcp").id
        self._corners_m = hand_corners(model, robot)
        self._rotation = _DOWN
        self._closure = 0.0
        share = np.minimum(np.arange(1, SUBSTEPS + 1) / (TRAVEL_SHARE * SUBSTEPS), 1.0)
        # Minimum jerk: no speed and no acceleration at either end.
        self._profile = share**3 * (10 - 15 * share + 6 * share**2)

    @property
    def commanded(self) -> tuple[np.ndarray, float]:
        """The commanded rotation `[3, 3]` and closure: what it remembers besides the state of the physics."""
        return self._rotation, self._closure

    @commanded.setter
    def commanded(self, value: tuple[np.ndarray, float]) -> None:
        self._rotation, self._closure = value

    def pose(self) -> np.ndarray:
        """Return the measured pose `[7]`, float64."""
        data = self._data
        rotation = data.site_xmat[self._site].reshape(3, 3)
        closure = self._robot.gripper.closure(data.qpos[self._robot.fingers])
        return np.concatenate([data.site_xpos[self._site], matrix_to_euler(rotation), [closure]])

    def closed_fingers_m(self) -> np.ndarray:
        """Return where the fingers are when they are closed, `[3]`."""
        data = self._data
        rotation = data.site_xmat[self._site].reshape(3, 3)
        return data.site_xpos[self._site] + rotation @ self._robot.gripper.meets_m

    def joints_for(self, pose: np.ndarray, seed_rad: np.ndarray | None = None) -> tuple[np.ndarray, bool]:
        """Return the joint angles `[J]` of pose `[7]`, and if the solver converged.

        It starts from joint angles `[J]`, from the home posture if None.
        """
        result = self._kinematics.solve(pose[:3], euler_to_matrix(pose[3:6]), seed_rad)
        return result.joints_rad, result.converged

    def place(self, joints_rad: np.ndarray, rotation_euler_rad: np.ndarray, closure: float) -> None:
        """Put the arm at rest at joint angles `[J]` and hold them; Euler angles `[3]` are its commanded rotation.

        The rest of the state is unchanged.
        """
        target = np.concatenate([joints_rad, self._robot.gripper.joints(closure)])
        self._data.qpos[: target.size] = target
        self._data.qvel[: target.size] = 0.0
        self._data.ctrl[:] = target
        self._rotation = _limited(euler_to_matrix(rotation_euler_rad))
        self._closure = closure
        mujoco.mj_forward(self._model, self._data)

    def settle(self) -> None:
        """Advance the physics by one control interval with the targets held."""
        mujoco.mj_step(self._model, self._data, SUBSTEPS)
        mujoco.mj_forward(self._model, self._data)

    def step(self, action: np.ndarray, watch: Callable[[], None] | None = None) -> Command:
        """Carry out one action `[7]` (already within its bounds) for one control interval.

        The position delta applies to the measured position. Rotation and closure apply to the last
        command, so that deltas of zero hold them; relative to the measured pose, the small errors of each step
        would add up. `watch` is called after each step of the physics.
        """
        self._closure = min(1.0, max(0.0, self._closure + float(action[6])))
        for share in _SHARES:
            joints, rotation, command = self._aim(share * action[:3], share * action[3:6])
            if not self._workspace.keeps_speeds or self._is_slow(joints):
                break
        self._rotation = rotation
        self._travel(np.concatenate([joints, self._robot.gripper.joints(self._closure)]), watch)
        return command

    def _aim(self, delta_m: np.ndarray, turn_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray, Command]:
        """Return the joint targets `[J]` and the commanded rotation after a move, and what became of the command."""
        measured = self._data.site_xpos[self._site]
        requested = measured + delta_m
        position = np.clip(requested, self._workspace.command_low_m, self._workspace.command_high_m)
        turned = _limited(euler_to_matrix(turn_rad) @ self._rotation) if turn_rad.any() else self._rotation
        # A position that the joint limits forbid with the rotation may be reachable without it, or pointing down.
        for rotation in (turned, self._rotation, _DOWN):
            raised = self._above_table(position, rotation)
            result = self._kinematics.solve(raised, rotation, self._data.qpos[self._robot.arm])
            if result.converged and self._nearby(result.joints_rad):
                clipped = bool((raised != requested).any())
                return (
                    result.joints_rad,
                    rotation,
                    Command(position_m=raised, workspace_clipped=clipped, reached=True),
                )
        clipped = bool((position != requested).any())
        held = self._data.ctrl[self._robot.arm].copy()
        return held, self._rotation, Command(position_m=position, workspace_clipped=clipped, reached=False)

    def _above_table(self, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Return the position, raised so that the lowest corner of a hand with this rotation stays above the table."""
        clearance = self._workspace.clearance_m
        if clearance is None:
            return position_m
        lowest = float((self._corners_m @ rotation[2]).min())
        return np.array([*position_m[:2], max(position_m[2], clearance - lowest)])

    def _is_slow(self, joints_rad: np.ndarray) -> bool:
        """Return whether no joint exceeds its speed on the way to targets `[J]`."""
        longest = _STEP_PER_SPEED_S * np.array(self._robot.speed_limit_rad_s)
        return bool((np.abs(joints_rad - self._data.ctrl[self._robot.arm]) <= longest).all())

    def _nearby(self, joints_rad: np.ndarray) -> bool:
        return bool(np.abs(joints_rad - self._data.qpos[self._robot.arm]).max() <= MAX_JOINT_STEP_RAD)

    def _travel(self, target: np.ndarray, watch: Callable[[], None] | None) -> None:
        model, data = self._model, self._data
        start = data.ctrl.copy()
        for ctrl in start + self._profile[:, None] * (target - start):
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data)
            if watch is not None:
                watch()
        # Positions of sites lag one step behind the joints without this.
        mujoco.mj_forward(model, data)


def hand_corners(model: mujoco.MjModel, robot: Robot) -> np.ndarray:
    """Return corners `[N, 3]` that enclose the hand and its open fingers, in the TCP's frame."""
    data = mujoco.MjData(model)
    data.qpos[robot.arm], data.qpos[robot.fingers] = robot.home_rad, robot.gripper.open
    mujoco.mj_kinematics(model, data)
    signs = np.array(list(itertools.product((-1, 1), repeat=3)))
    geoms = np.flatnonzero(model.geom_contype == TOUCHING_CONTYPE)
    boxes = model.geom_aabb[geoms]
    inside = boxes[:, None, :3] + signs * boxes[:, None, 3:]
    world = inside @ data.geom_xmat[geoms].reshape(-1, 3, 3).transpose(0, 2, 1) + data.geom_xpos[geoms, None]
    tcp = model.site(f"{ROBOT_PREFIX}tcp").id
    return (world.reshape(-1, 3) - data.site_xpos[tcp]) @ data.site_xmat[tcp].reshape(3, 3)


def kinematics_of(model: mujoco.MjModel, robot: Robot) -> Kinematics:
    """Return the kinematics that fit a robot."""
    kind = RedundantKinematics if robot.holds_rotation else PositionFirstKinematics
    return kind(model, robot)


def tilt_from_down(euler_rad: np.ndarray) -> float:
    """Return the angle [rad] between a hand of Euler angles `[3]` and one that points straight down."""
    return float(np.linalg.norm(rotation_error(_DOWN, euler_to_matrix(euler_rad))))


def _limited(rotation: np.ndarray) -> np.ndarray:
    """Return the rotation nearest to `rotation` within `MAX_TILT_RAD` of pointing down."""
    turn = rotation_error(_DOWN, rotation)
    angle = float(np.linalg.norm(turn))
    if angle <= MAX_TILT_RAD:
        return rotation
    quaternion, matrix = np.empty(4), np.empty(9)
    mujoco.mju_axisAngle2Quat(quaternion, turn / angle, MAX_TILT_RAD)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3) @ _DOWN
