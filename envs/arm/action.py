"""The arm's actions and measured poses: their bounds, and checks of what is given."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from envs.arm.controller import tilt_from_down
from envs.arm.limits import ACTION_HIGH, MAX_TILT_RAD, Workspace
from envs.arm.robots.base import Robot
from envs.errors import EnvError

#: Bounds of the pose: wider than the workspace, since a state is measured, not commanded.
STATE_LOW: Final = np.array([-1.0, -1.0, -0.5, 0.0, -np.pi / 2, -np.pi, 0.0], np.float32)
STATE_HIGH: Final = np.array([1.0, 1.0, 1.5, 2 * np.pi, np.pi / 2, np.pi, 1.0], np.float32)
#: A given pose may lie this far outside the workspace, since measured poses can exceed it slightly.
_WORKSPACE_SLACK_M: Final = 0.02
_TILT_SLACK_RAD: Final = 0.05


def check_action(action: Any) -> np.ndarray:
    """Return an action `[7]` as float64, not yet clipped to the bounds.

    Raises:
        EnvError: If its shape is another one, or an entry is not a finite number.
    """
    array = _numeric("action", action)
    if array.shape != ACTION_HIGH.shape:
        raise EnvError(
            f"action has shape {array.shape}, not (7,): give delta xyz, Euler angles, delta closure."
        )
    if not np.isfinite(array).all():
        raise EnvError(f"action {array.tolist()} is not finite: every entry must be a finite number.")
    return array


def check_pose(name: str, pose: Any, workspace: Workspace, robot: Robot) -> np.ndarray:
    """Return a given pose `[7]` as float64.

    Raises:
        EnvError: If it is malformed, or the arm may not be there.
    """
    array = _numeric(name, pose)
    if array.shape != (7,) or not np.isfinite(array).all():
        raise EnvError(
            f"{name} {array.tolist()} is not a pose: give 7 finite numbers, xyz, Euler angles, closure."
        )
    low, high = workspace.command_low_m, workspace.command_high_m
    outside = (array[:3] < low - _WORKSPACE_SLACK_M) | (array[:3] > high + _WORKSPACE_SLACK_M)
    if outside.any() or not 0.0 <= array[6] <= 1.0:
        raise EnvError(
            f"{name} {array.tolist()} is out of the workspace: position within {low.tolist()} to "
            f"{high.tolist()} m, closure within 0 to 1."
        )
    tilt = tilt_from_down(array[3:6])
    if robot.holds_rotation and tilt > MAX_TILT_RAD + _TILT_SLACK_RAD:
        raise EnvError(
            f"{name} {array.tolist()} turns the hand {tilt:.2f} rad away from pointing down, Euler angles "
            f"(pi, 0, 0): at most {MAX_TILT_RAD} rad is allowed."
        )
    return array


def measured_state(pose: np.ndarray) -> np.ndarray:
    """Return a measured pose `[7]` as observations have it: float32, within the bounds."""
    return np.clip(pose.astype(np.float32), STATE_LOW, STATE_HIGH)


def _numeric(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # tensors on a graphics card, ragged lists
        raise EnvError(f"{name} {values!r} is not an array of numbers: give 7 of them.") from error
    if array.dtype.kind not in "uif":
        raise EnvError(f"{name} {values!r} is not an array of real numbers: give 7 of them.")
    return array.astype(np.float64)
