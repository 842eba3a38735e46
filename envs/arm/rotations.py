r"""Rotations in the pose convention.

Pose: x y z [m], extrinsic xyz Euler angles [rad], gripper closure [0 open, 1 closed]; robot base frame.
"""

from __future__ import annotations

import math

import mujoco
import numpy as np


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
