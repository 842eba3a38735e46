"""Moves of the hand as actions, each towards a target and within the bounds of one action."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.arm.limits import ACTION_HIGH
from envs.simulation import Simulation, scaled_position

OPEN: Final = -1.0
CLOSE: Final = 1.0

#: Above the top of an object, open fingers pass over it and over what lies around it.
_CLEARANCE_M: Final = 0.035
#: From the TCP down to the tips of the fingers, and up to the lower side of the hand.
_HAND_ABOVE_TCP_M: Final = 0.031
LOWEST_TCP_M: Final = 0.025


class Hand:
    """Reads the hand's pose and makes actions; positions are those of a scene of scale 1.

    Args:
        simulation: The running simulation.
        closed: Whether it works with closed fingers, which do not meet at the TCP if only one of them moves.
    """

    def __init__(self, simulation: Simulation, *, closed: bool = False) -> None:
        self._simulation, self._closed = simulation, closed

    @property
    def position_m(self) -> np.ndarray:
        """The position `[3]` of the TCP, or of the closed fingers."""
        return self._simulation.closed_fingers_m if self._closed else self._simulation.tcp_m

    @property
    def closure(self) -> float:
        """The commanded closure."""
        return self._simulation.arm.commanded[1]

    @property
    def yaw_rad(self) -> float:
        """The hand's rotation about z, 0 as at the start."""
        return float(self._simulation.arm.pose()[5])

    def go(
        self,
        target_m: np.ndarray,
        *,
        yaw_rad: float | None = None,
        closing: float = 0.0,
        fastest_m: float = float(ACTION_HIGH[0]),
    ) -> np.ndarray:
        """Return the action, float32 `[7]`, towards a position `[3]`.

        Args:
            target_m: Where the TCP is to be, or the closed fingers.
            yaw_rad: How the hand is to be turned about z; None leaves it.
            closing: Delta of the closure.
            fastest_m: Longest way of this action.
        """
        way = target_m - self.position_m
        length = float(np.linalg.norm(way))
        if length > fastest_m:
            way = way * (fastest_m / length)
        turn = 0.0 if yaw_rad is None else yaw_rad - self.yaw_rad
        action = np.array([*way, 0.0, 0.0, turn, closing])
        clipped = np.clip(action, -ACTION_HIGH, ACTION_HIGH)
        return scaled_position(clipped, self._simulation.scale).astype(np.float32)

    def stay(self, closing: float = 0.0) -> np.ndarray:
        """Return the action that moves the fingers only."""
        return np.array([0, 0, 0, 0, 0, 0, closing], np.float32)


def grasp_height_m(height_m: float) -> float:
    """Return the height of the TCP at which fingers hold an object of a height: low, the hand above its top."""
    return max(LOWEST_TCP_M, height_m - _HAND_ABOVE_TCP_M)


def hover_height_m(height_m: float) -> float:
    """Return the height of the TCP at which the fingers are above an object of a height."""
    return height_m + _CLEARANCE_M
