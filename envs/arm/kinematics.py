r"""Forward and inverse kinematics of the arm, and rotations in the pose convention.

Pose: x y z [m], extrinsic xyz Euler angles [rad], gripper closure [0 open, 1 closed]; robot base frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import mujoco
import numpy as np

from envs.arm.limits import JOINT_MARGIN_RAD
from envs.arm.robots.base import Robot
from envs.errors import EnvError


def euler_to_matrix(euler_rad: np.ndarray) -> np.ndarray:
    r"""Return the rotation `[3, 3]` of extrinsic xyz angles `[3]`: :math:`R_z(c)\,R_y(b)\,R_x(a)`."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(euler_rad), np.sin(euler_rad)
    return np.array(
        [
            [cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
            [sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
            [-sb, cb * sa, cb * ca],
        ]
    )


def matrix_to_euler(rotation: np.ndarray) -> np.ndarray:
    """Return the extrinsic xyz angles `[3]` [rad] of a rotation `[3, 3]`.

    The first angle lies in [0, 2 pi), not in (-pi, pi]: a gripper that points down has it at pi, where the
    usual range would jump between -pi and pi from one step to the next.
    """
    pitch = math.asin(min(1.0, max(-1.0, -rotation[2, 0])))
    if math.hypot(rotation[2, 1], rotation[2, 2]) < 1e-9:
        # Gimbal lock: only yaw minus/plus roll is defined; put all of it into yaw.
        return np.array([0.0, pitch, math.atan2(-rotation[0, 1], rotation[1, 1])])
    roll = math.atan2(rotation[2, 1], rotation[2, 2]) % (2 * math.pi)
    return np.array([roll, pitch, math.atan2(rotation[1, 0], rotation[0, 0])])


def rotation_error(current: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the rotation vector `[3]` [rad], base frame, that carries `current` to `target` `[3, 3]`."""
    difference = target @ current.T
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, difference.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


@dataclass(frozen=True, kw_only=True)
class IKResult:
    """The result of one inverse kinematics solve.

    Attributes:
        joints_rad: Joint angles `[J]`, within the limits.
        position_error_m: Distance left between the TCP and its target.
        rotation_error_rad: Angle left between the hand and its target.
        converged: Whether the errors are below the solver's tolerances.
    """

    joints_rad: np.ndarray
    position_error_m: float
    rotation_error_rad: float
    converged: bool


class Kinematics:
    r"""Forward kinematics and damped least squares on a scratch copy of the state.

    One update, with the task error :math:`e`, the Jacobian :math:`J` and the home posture :math:`q_h`; in :math:`e` and
    :math:`J`, rotations are multiplied by the robot's `rotation_weight`:

    .. math::
        \Delta q = J^\top (J J^\top + \lambda^2 I)^{-1} (e - J\,(q_h - q)) + (q_h - q)

    which moves towards the home posture in the null space of the task. The damping
    :math:`\lambda^2 = \lambda_0^2 + \kappa \lVert e \rVert^2` vanishes with the error, so that the solution
    found is exact where one exists. Started from home or from nearby, the solver ends in the same
    configuration: the arm's shape is a function of the hand's pose. A robot that cannot turn the hand at any position
    reaches the position, as its weight is much the larger, and comes as near to the rotation as it can.

    Args:
        model: The compiled arm.
        robot: What the arm is.
        damping: :math:`\lambda_0`.
        error_damping: :math:`\kappa`.
        max_iterations: Updates at most.
        rotation_tolerance_rad: Largest rotation error that counts as converged.

    Source:
        Wampler 1986 (damped least squares); Sugihara 2011 (damping by the squared error).
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        robot: Robot,
        *,
        damping: float = 1e-3,
        error_damping: float = 0.05,
        max_iterations: int = 40,
        rotation_tolerance_rad: float = 1e-3,
    ) -> None:
        self._model, self._robot = model, robot
        self._data = mujoco.MjData(model)
        self._site = model.site("robot/tcp").id
        self._damping, self._error_damping = damping, error_damping
        self._max_iterations = max_iterations
        self._rotation_tolerance_rad = rotation_tolerance_rad
        self._home = np.array(robot.home_rad)
        self._low = np.array(robot.joint_low_rad) + JOINT_MARGIN_RAD
        self._high = np.array(robot.joint_high_rad) - JOINT_MARGIN_RAD
        self._weights = np.array([1.0] * 3 + [robot.rotation_weight] * 3)
        self._jacobian = np.zeros((6, model.nv))

    def forward(self, joints_rad: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the TCP's position `[3]` [m] and rotation `[3, 3]` at joint angles `[J]`."""
        self._data.qpos[self._robot.arm] = joints_rad
        mujoco.mj_kinematics(self._model, self._data)
        return self._data.site_xpos[self._site].copy(), self._data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(
        self, position_m: np.ndarray, rotation: np.ndarray, seed_rad: np.ndarray | None = None
    ) -> IKResult:
        """Return joint angles that put the TCP at a pose, within the joint limits.

        Args:
            position_m: Target position `[3]`, base frame.
            rotation: Target rotation `[3, 3]`, base frame.
            seed_rad: Joint angles `[J]` to start from; the home posture if None.

        Returns:
            The best angles found. An unreachable pose gives the nearest ones and `converged` False.

        Raises:
            EnvError: If the pose is not finite.
        """
        if not (np.isfinite(position_m).all() and np.isfinite(rotation).all()):
            raise EnvError(f"inverse kinematics got position {position_m}: every entry must be finite.")
        joints = np.clip(self._home if seed_rad is None else seed_rad, self._low, self._high)
        error = self._error(joints, position_m, rotation)
        for _ in range(self._max_iterations):
            step = self._update(error, self._home - joints)
            moved = np.clip(joints + step, self._low, self._high)
            largest = float(np.abs(moved - joints).max())
            joints = moved
            error = self._error(joints, position_m, rotation)
            # The null space must have come to rest too, or the shape would depend on the seed.
            if largest < 2e-3 and self._within(error):
                break
        position_error, angle_error = _norms(error)
        return IKResult(
            joints_rad=joints,
            position_error_m=position_error,
            rotation_error_rad=angle_error,
            converged=self._within(error),
        )

    def _error(self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        position, current = self.forward(joints_rad)
        return np.concatenate([position_m - position, rotation_error(current, rotation)])

    def _update(self, error: np.ndarray, home_pull: np.ndarray) -> np.ndarray:
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        jacobian = self._weights[:, None] * self._jacobian[:, self._robot.arm]
        error = self._weights * error
        squared_damping = self._damping**2 + self._error_damping * float(error @ error)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += squared_damping
        task = np.linalg.solve(gram, error - jacobian @ home_pull)
        return jacobian.T @ task + home_pull

    def _within(self, error: np.ndarray) -> bool:
        position_error, angle_error = _norms(error)
        turned = angle_error <= self._rotation_tolerance_rad or not self._robot.holds_rotation
        return position_error <= self._robot.position_tolerance_m and turned


def _norms(error: np.ndarray) -> tuple[float, float]:
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
