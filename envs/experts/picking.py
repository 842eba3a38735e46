"""Grasp an object, carry it, put it down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from envs.experts.hand import CLOSE, LOWEST_TCP_M, OPEN, Hand, grasp_height_m, hover_height_m
from envs.simulation import Simulation

_ALIGNED_M: Final = 0.008
_ALIGNED_RAD: Final = 0.08
_AT_HEIGHT_M: Final = 0.006
#: How high an object is lifted, and carried.
LIFT_M: Final = 0.08
_NEAR_M: Final = 0.01
#: Fingers so near to their lowest height cannot put an object down any further, if it slid up between them.
_AT_LOWEST_M: Final = 0.002
#: An object with this much air below it is let go.
_LET_GO_M: Final = 0.004


class GraspExpert:
    """Grasps the object and lifts it straight up.

    Args:
        simulation: The running simulation.
        offset_m: Added to where the object is taken to be, x and y; for grasps that fail.
    """

    def __init__(self, simulation: Simulation, offset_m: tuple[float, float] = (0.0, 0.0)) -> None:
        self._simulation, self._hand = simulation, Hand(simulation)
        self._offset = np.array([*offset_m, 0.0])

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`; the observation is not used."""
        if not self.is_holding:
            return self.grasp()
        rise = LIFT_M - self._simulation.object.lift_m
        return self._hand.go(self._hand.position_m + [0.0, 0.0, max(0.0, rise)])

    @property
    def is_holding(self) -> bool:
        """Whether both fingers press on the object."""
        return self._simulation.object.is_grasped and self._hand.closure > 0.5

    def grasp(self) -> np.ndarray:
        """Return the next action on the way to holding the object: above it, down, close."""
        thing, hand = self._simulation.object, self._hand
        height, centre = thing.spec.height_m, thing.position_m + self._offset
        yaw = thing.spec.nearest_grasp_rad(thing.yaw_rad)
        hover = max(hover_height_m(height), thing.lift_m + hover_height_m(height))
        position = hand.position_m
        aside = float(np.linalg.norm((centre - position)[:2]))
        if aside > 3 * _ALIGNED_M and position[2] < hover - 3 * _AT_HEIGHT_M:
            return hand.go(np.array([*position[:2], hover]), closing=OPEN)
        low = grasp_height_m(height) + thing.lift_m
        if position[2] > low + _AT_HEIGHT_M:
            aligned = aside < _ALIGNED_M and abs(yaw - hand.yaw_rad) < _ALIGNED_RAD and hand.closure < 0.1
            return hand.go(np.array([*centre[:2], low if aligned else hover]), yaw_rad=yaw, closing=OPEN)
        if hand.closure > 0.5:  # closed, and nothing between the fingers
            return hand.stay(OPEN)
        return hand.stay(CLOSE)


class _DeliveryExpert:
    """Grasps the object and brings it to a target.

    Args:
        simulation: The running simulation.
        target_m: Where its centre is to be, `[3]`.
    """

    def __init__(self, simulation: Simulation, target_m: np.ndarray) -> None:
        self._simulation, self._hand = simulation, Hand(simulation)
        self._grasp = GraspExpert(simulation)
        self._target = target_m


class CarryExpert(_DeliveryExpert):
    """Grasps the object unless it is held, and carries it to a position in the air."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`; the observation is not used."""
        if not self._grasp.is_holding:
            return self._grasp.grasp()
        thing = self._simulation.object
        way = self._target - thing.position_m
        if float(np.linalg.norm(way[:2])) > _NEAR_M and thing.lift_m < 0.5 * LIFT_M:
            way = np.array([0.0, 0.0, LIFT_M])
        return self._hand.go(self._hand.position_m + way)


class PlaceExpert(_DeliveryExpert):
    """Grasps the object, carries it over a place on the table, puts it down and lets go."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`; the observation is not used."""
        thing, hand = self._simulation.object, self._hand
        way = self._target - thing.position_m
        aside = float(np.linalg.norm(way[:2]))
        is_down = thing.lift_m < _LET_GO_M or hand.position_m[2] < LOWEST_TCP_M + _AT_LOWEST_M
        if aside < 2 * _NEAR_M and is_down:
            return self._leave()
        if not self._grasp.is_holding:
            return self._grasp.grasp()
        if aside < _NEAR_M:
            down = -min(thing.lift_m - 0.5 * _LET_GO_M, 0.05)
            return hand.go(hand.position_m + np.array([*way[:2], down]))
        if thing.lift_m < 0.5 * LIFT_M:
            return hand.go(hand.position_m + [0.0, 0.0, LIFT_M - thing.lift_m])
        return hand.go(hand.position_m + np.array([*way[:2], LIFT_M - thing.lift_m]))

    def _leave(self) -> np.ndarray:
        """Open the fingers, then rise."""
        hand = self._hand
        if hand.closure > 0.0:
            return hand.stay(OPEN)
        above = LIFT_M + hover_height_m(self._simulation.object.spec.height_m)
        return hand.go(np.array([*hand.position_m[:2], above]))
