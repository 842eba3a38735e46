"""Forward and inverse kinematics of the robots."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from envs.arm.robots.base import Robot
from envs.arm.rotations import rotation_error
from envs.errors import EnvError


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


class Kinematics(ABC):
    """Forward and inverse kinematics of a robot on a scratch copy of the state.

    Args:
        model: The compiled arm.
        robot: What the arm is.
    """

    def __init__(self, model: mujoco.MjModel, robot: Robot) -> None:
        self._model, self._robot = model, robot
        self._data = mujoco.MjData(model)
        self._site = model.site("robot/tcp").id
        self._home = np.array(robot.home_rad)
        self._low = np.array(robot.joint_low_rad) + robot.joint_margin_rad
        self._high = np.array(robot.joint_high_rad) - robot.joint_margin_rad
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
            seed_rad: Joint angles `[J]` to start from; the home posture if None. Angles beyond the limits are taken as
                the limits.

        Returns:
            The best angles found. An unreachable pose gives the nearest ones and `converged` False.

        Raises:
            EnvError: If the pose is not finite.
        """
        if not (np.isfinite(position_m).all() and np.isfinite(rotation).all()):
            raise EnvError(f"inverse kinematics got position {position_m}: every entry must be finite.")
        joints = np.clip(self._home if seed_rad is None else seed_rad, self._low, self._high)
        joints, error = self._search(joints, position_m, rotation)
        position_error, angle_error = error_norms(error)
        return IKResult(
            joints_rad=joints,
            position_error_m=position_error,
            rotation_error_rad=angle_error,
            converged=self._within(error),
        )

    @abstractmethod
    def _search(
        self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the joint angles `[J]` that are found from the given ones, and their error `[6]`."""

    @abstractmethod
    def _within(self, error: np.ndarray) -> bool:
        """Return whether an error `[6]` is small enough for the pose to count as reached."""

    def _error(self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        """Return what is left to a pose, `[6]`: position [m] and rotation vector [rad]."""
        position, current = self.forward(joints_rad)
        return np.concatenate([position_m - position, rotation_error(current, rotation)])

    def _jacobian_here(self) -> np.ndarray:
        """Return the Jacobian `[6, J]` at the angles that `_error` was last called with."""
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        return self._jacobian[:, self._robot.arm]


class RedundantKinematics(Kinematics):
    r"""Of an arm with seven joints: reaches the pose, and moves towards the home posture in the null space.

    Damped least squares. One update, with the task error :math:`e`, the Jacobian :math:`J` and the home posture
    :math:`q_h`:

    .. math::
        \Delta q = J^\top (J J^\top + \lambda^2 I)^{-1} (e - J\,(q_h - q)) + (q_h - q)

    The damping :math:`\lambda^2 = \lambda_0^2 + \kappa \lVert e \rVert^2` vanishes with the error, so that the solution
    found is exact where one exists. Started from home or from nearby, the solver ends in the same configuration: the
    arm's shape is a function of the hand's pose.

    Source:
        Wampler 1986 (damped least squares); Sugihara 2011 (damping by the squared error).
    """

    _DAMPING: Final = 1e-3
    _ERROR_DAMPING: Final = 0.05
    _MAX_ITERATIONS: Final = 40
    _POSITION_TOLERANCE_M: Final = 2e-4
    _ROTATION_TOLERANCE_RAD: Final = 1e-3

    def _search(
        self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        joints = joints_rad
        error = self._error(joints, position_m, rotation)
        for _ in range(self._MAX_ITERATIONS):
            step = self._update(error, self._home - joints)
            moved = np.clip(joints + step, self._low, self._high)
            largest = float(np.abs(moved - joints).max())
            joints = moved
            error = self._error(joints, position_m, rotation)
            # The null space must have come to rest too, or the shape would depend on the seed.
            if largest < 2e-3 and self._within(error):
                break
        return joints, error

    def _update(self, error: np.ndarray, home_pull: np.ndarray) -> np.ndarray:
        jacobian = self._jacobian_here()
        squared_damping = self._DAMPING**2 + self._ERROR_DAMPING * float(error @ error)
        gram = jacobian @ jacobian.T
        gram.flat[::7] += squared_damping
        task = np.linalg.solve(gram, error - jacobian @ home_pull)
        return jacobian.T @ task + home_pull

    def _within(self, error: np.ndarray) -> bool:
        position_error, angle_error = error_norms(error)
        return position_error <= self._POSITION_TOLERANCE_M and angle_error <= self._ROTATION_TOLERANCE_RAD


def error_norms(error: np.ndarray) -> tuple[float, float]:
    """Return the lengths of the two halves of an error `[6]`: position [m] and rotation [rad]."""
    return float(np.linalg.norm(error[:3])), float(np.linalg.norm(error[3:]))
