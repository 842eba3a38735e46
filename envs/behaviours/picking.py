"""Pick the object, often badly, and carry and drop it."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.behaviours.base import ObjectBehaviour
from envs.experts.hand import OPEN, hover_height_m
from envs.experts.picking import GraspExpert, PlaceExpert

#: Standard deviation of where a pick takes the object to be: about half of the picks miss it or push it away.
_OFFSET_M: Final = 0.018
_SMALL_OFFSET_M: Final = 0.003
#: A pick of more actions than this is given up.
_MOST_PICKING: Final = 12
_HELD: Final = (1, 5)
#: Hand higher than it was sent by this much: something is below the fingers.
_BLOCKED_M: Final = 0.012
_AIR_LOW_M: Final = np.array([0.40, -0.18, 0.07])
_AIR_HIGH_M: Final = np.array([0.57, 0.18, 0.25])
_WAYPOINTS: Final = (1, 4)
#: Share of the carried objects that are put down; the others are dropped from where they are.
_PUT_DOWN: Final = 0.4


class Pick(ObjectBehaviour):
    """Grasps where the object is not quite; lifts it for a while if it is held, lets go, and tries again."""

    name = "pick"
    summary = "grasp the object, often next to it, lift it and let go"
    offset_m: float = _OFFSET_M

    def begin(self) -> None:
        """Draw where the next pick goes, and how long the object is held."""
        x, y = self.rng.normal(0.0, self.offset_m, 2)
        self._grasp = GraspExpert(self.simulation, (float(x), float(y)))
        self._left = _MOST_PICKING
        self._held = int(self.rng.integers(*_HELD))
        self._rising = 2
        self._sent_m = np.inf

    def next_action(self) -> np.ndarray:
        """Return the next action of: open and rise, grasp, lift, let go."""
        hand = self.hand
        if self._rising > 0 and not self._grasp.is_holding:
            self._rising -= 1
            hover = hover_height_m(self.simulation.object.spec.height_m)
            position = hand.position_m
            return hand.go(np.array([*position[:2], max(position[2], hover)]), closing=OPEN)
        if self._grasp.is_holding:
            return self.hold()
        self._left -= 1
        if self._left <= 0 or hand.position_m[2] > self._sent_m + _BLOCKED_M:
            self.begin()
            return hand.stay(OPEN)
        action = self._grasp.act({})
        self._sent_m = float(hand.position_m[2] + action[2] / self.simulation.scale)
        return action

    def hold(self) -> np.ndarray:
        """Return the next action with the object between the fingers."""
        self._held -= 1
        if self._held >= 0:
            return self._grasp.act({})
        self.begin()
        return self.hand.stay(OPEN)


class Carry(Pick):
    """Grasps well, carries the object through the air, and drops it or puts it down."""

    name = "carry"
    summary = "carry the object through the air, and drop it or put it down"
    offset_m = _SMALL_OFFSET_M

    def begin(self) -> None:
        """Draw the way through the air and its end."""
        super().begin()
        count = int(self.rng.integers(*_WAYPOINTS))
        self._waypoints = list(self.rng.uniform(_AIR_LOW_M, _AIR_HIGH_M, (count, 3)))
        x, y = self.rng.uniform(_AIR_LOW_M[:2], _AIR_HIGH_M[:2])
        place = np.array([x, y, self.simulation.object.spec.height_m / 2])
        self._place = PlaceExpert(self.simulation, place) if self.rng.uniform() < _PUT_DOWN else None

    def hold(self) -> np.ndarray:
        """Return the next action on the way, or the one that ends it."""
        centre = self.simulation.object.position_m
        while self._waypoints and np.linalg.norm(self._waypoints[0] - centre) < 2 * _BLOCKED_M:
            self._waypoints.pop(0)
        if self.simulation.object.lift_m < _BLOCKED_M:
            return self._grasp.act({})  # up first
        if self._waypoints:
            return self.along(self._waypoints[0] - centre)
        if self._place is not None:
            return self._place.act({})
        self.begin()
        return self.hand.stay(OPEN)
