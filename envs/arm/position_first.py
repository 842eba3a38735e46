"""Inverse kinematics of an arm that cannot turn its hand freely."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.arm.kinematics import Kinematics, error_norms


class PositionFirstKinematics(Kinematics):
    r"""Of an arm with fewer joints than a pose has dimensions: reaches the position, as near to the rotation as it can.

    First Levenberg-Marquardt on :math:`\lVert e_p \rVert^2 + w^2 \lVert e_r \rVert^2`, where `w` is 1 m for 50 rad;
    only steps that lower it are taken, so that joints at their limits cannot make it cycle. Then Newton steps of least
    norm on the position alone, which change the rotation as little as possible. A pose that was reached is thus a fixed
    point, although its rotation is not the one that was asked for: an arm that is told to stay does not creep.
    """

    _ROTATION_WEIGHT_M: Final = 0.02
    _MAX_ITERATIONS: Final = 60
    _POSITION_TOLERANCE_M: Final = 1e-4
    #: A position that is only reached by turning a joint further than this, away from the rotation, is not reached.
    _LARGEST_TURN_RAD: Final = 0.5

    def _search(
        self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        near = self._descend(joints_rad, position_m, rotation)
        joints, error = self._reach(near, position_m, rotation)
        if np.abs(joints - near).max() > self._LARGEST_TURN_RAD:
            return near, self._error(near, position_m, rotation)
        return joints, error

    def _descend(self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        weights = np.array([1.0] * 3 + [self._ROTATION_WEIGHT_M] * 3)
        joints, damping = joints_rad, 1e-4
        error = weights * self._error(joints, position_m, rotation)
        for _ in range(self._MAX_ITERATIONS):
            self.forward(joints)
            jacobian = weights[:, None] * self._jacobian_here()
            jacobian = jacobian * self._free(joints, jacobian.T @ error)
            normal = jacobian.T @ jacobian + damping * np.eye(len(joints))
            moved = self._limited(joints + np.linalg.solve(normal, jacobian.T @ error))
            left = weights * self._error(moved, position_m, rotation)
            gain = float(error @ error - left @ left)
            if gain > 0:
                joints, error, damping = moved, left, max(damping / 5, 1e-9)
            else:
                damping *= 5
            if 0 <= gain < 1e-10 or damping > 10:
                break
        return joints

    def _reach(
        self, joints_rad: np.ndarray, position_m: np.ndarray, rotation: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        joints = joints_rad
        error = self._error(joints, position_m, rotation)
        for _ in range(self._MAX_ITERATIONS):
            if np.linalg.norm(error[:3]) < 0.1 * self._POSITION_TOLERANCE_M:
                break
            jacobian = self._jacobian_here()[:3]
            while True:  # until no joint is pushed against its limit
                step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-8 * np.eye(3), error[:3])
                free = self._free(joints, step)
                if free.all():
                    break
                jacobian = jacobian * free
            joints = self._limited(joints + step)
            error = self._error(joints, position_m, rotation)
        return joints, error

    def _free(self, joints_rad: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """Return which joints `[J]` a step in a direction `[J]` does not push against a limit that they are at."""
        return ~(
            ((joints_rad <= self._low) & (direction < 0)) | ((joints_rad >= self._high) & (direction > 0))
        )

    def _limited(self, joints_rad: np.ndarray) -> np.ndarray:
        return np.clip(joints_rad, self._low, self._high)

    def _within(self, error: np.ndarray) -> bool:
        return error_norms(error)[0] <= self._POSITION_TOLERANCE_M
