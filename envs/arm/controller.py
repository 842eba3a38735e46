"""The arm under end-effector control at 4 Hz: actions in, physics, measured poses out.

Gravity acts on the arm and is compensated by its motors, as on the real one: the compensating torque is
part of what the joints' torque limits bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from envs.arm.kinematics import Kinematics, RedundantKinematics
from envs.arm.limits import MAX_JOINT_STEP_RAD, MAX_TILT_RAD, Workspace
from envs.arm.model import TIMESTEP_S
from envs.arm.position_first import PositionFirstKinematics
from envs.arm.robots.base import Robot
from envs.arm.rotations import euler_to_matrix, matrix_to_euler, rotation_error

CONTROL_HZ: Final = 4
SUBSTEPS: Final = round(1 / (CONTROL_HZ * TIMESTEP_S))
#: The joint targets move during this share of the control interval and are constant for the rest of it.
TRAVEL_SHARE: Final = 0.72

_WATCH_EVERY: Final = SUBSTEPS // 10

#: Extrinsic xyz Euler angles of the hand pointing straight down.
DOWN_EULER_RAD: Final = (np.pi, 0.0, 0.0)

_DOWN: Final = euler_to_matrix(np.array(DOWN_EULER_RAD))


@dataclass(frozen=True, kw_only=True)
class Command:
    """The result of one action.

    Attributes:
        position_m: Commanded TCP position `[3]`, after clipping to the workspace.
        workspace_clipped: Whether the clipping changed it.
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

    def joints_for(self, pose: np.ndarray) -> tuple[np.ndarray, bool]:
        """Return the joint angles `[J]` of pose `[7]`, solved from the home posture, and if it converged."""
        result = self._kinematics.solve(pose[:3], euler_to_matrix(pose[3:6]))
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
        would add up. `watch` is called ten times on the way.
        """
        measured = self._data.site_xpos[self._site]
        requested = measured + action[:3]
        position = np.clip(requested, self._workspace.command_low_m, self._workspace.command_high_m)
        turned = (
            _limited(euler_to_matrix(action[3:6]) @ self._rotation) if action[3:6].any() else self._rotation
        )
        self._closure = min(1.0, max(0.0, self._closure + float(action[6])))
        joints = self._data.ctrl[self._robot.arm].copy()
        # A position that the joint limits forbid with the rotation may be reachable without it, or pointing down.
        for rotation in (turned, self._rotation, _DOWN):
            result = self._kinematics.solve(position, rotation, self._data.qpos[self._robot.arm])
            reached = result.converged and self._nearby(result.joints_rad)
            if reached:
                joints, self._rotation = result.joints_rad, rotation
                break
        self._travel(np.concatenate([joints, self._robot.gripper.joints(self._closure)]), watch)
        return Command(
            position_m=position,
            workspace_clipped=bool((position != requested).any()),
            reached=reached,
        )

    def _nearby(self, joints_rad: np.ndarray) -> bool:
        return bool(np.abs(joints_rad - self._data.qpos[self._robot.arm]).max() <= MAX_JOINT_STEP_RAD)

    def _travel(self, target: np.ndarray, watch: Callable[[], None] | None) -> None:
        model, data = self._model, self._data
        start = data.ctrl.copy()
        for index, ctrl in enumerate(start + self._profile[:, None] * (target - start)):
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data)
            if watch is not None and index % _WATCH_EVERY == 0:
                watch()
        # Positions of sites lag one step behind the joints without this.
        mujoco.mj_forward(model, data)


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
