"""Limits that all robots share: workspace, actions, tilt of the hand. Those of a robot's joints are the robot's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

#: Largest action at scale 1: delta x y z [m], Euler angles [rad], delta closure.
ACTION_HIGH: Final = np.array([0.075] * 3 + [0.3] * 3 + [1.0], np.float32)


@dataclass(frozen=True, eq=False)
class Workspace:
    """The box that commands are clipped to, and the larger one that the TCP never leaves; robot base frame [m].

    Attributes:
        command_low_m: Lower corner `[3]` of the commands.
        command_high_m: Upper corner `[3]` of the commands.
        overshoot_m: How far the TCP may leave the box of its commands: servos overshoot, what is pressed pushes back.
        clearance_m: The lowest corner of hand and fingers is never sent below this height; None sends it anywhere.
        keeps_speeds: Whether an action is made smaller if a joint would exceed its speed.
    """

    command_low_m: np.ndarray
    command_high_m: np.ndarray
    overshoot_m: float
    clearance_m: float | None = None
    keeps_speeds: bool = False

    @property
    def low_m(self) -> np.ndarray:
        """Lower corner `[3]` of the box that the TCP never leaves."""
        return self.command_low_m - self.overshoot_m

    @property
    def high_m(self) -> np.ndarray:
        """Upper corner `[3]` of the box that the TCP never leaves."""
        return self.command_high_m + self.overshoot_m

    def contains(self, position_m: np.ndarray) -> bool:
        """Return whether a TCP position `[3]` is one that the arm may have."""
        return bool((position_m >= self.low_m).all() and (position_m <= self.high_m).all())


#: The box of Reach's commands; its fingers stay above the low clutter.
WORKSPACE_LOW_M: Final = np.array([0.32, -0.30, 0.05])
WORKSPACE_HIGH_M: Final = np.array([0.62, 0.30, 0.42])
REACH_WORKSPACE: Final = Workspace(WORKSPACE_LOW_M, WORKSPACE_HIGH_M, 0.008)
#: Of tasks with objects: smaller, for a camera that is nearer, and down to where the fingers almost touch the table.
#: A hand that presses an object against the table slides off it, in 15,000 random episodes by up to 4.4 cm.
TABLE_WORKSPACE: Final = Workspace(
    np.array([0.34, -0.25, 0.025]), np.array([0.61, 0.25, 0.30]), 0.06, clearance_m=0.004, keeps_speeds=True
)
#: Largest angle between the hand and pointing straight down.
MAX_TILT_RAD: Final = 0.4
#: A solution of inverse kinematics that turns a joint further than this in one step is another configuration
#: of the arm, and is rejected.
MAX_JOINT_STEP_RAD: Final = 1.0
