"""Push an object over the table with closed fingers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from envs.experts.hand import CLOSE, Hand, grasp_height_m, hover_height_m
from envs.scenes.objects import ObjectSpec
from envs.simulation import Simulation

#: The longest way of one push: a longer one accelerates so much that the object slides on.
_PUSH_M: Final = 0.03
#: It slides on after every push, so that one covers this share of the way that is left.
_SHARE: Final = 0.7
#: The closed fingers' half extent, and the gap behind the object at which they go down.
_FINGERS_M: Final = 0.016
_GAP_M: Final = 0.022
#: Largest offset from the line of the push at which it goes on.
_OFF_LINE_M: Final = 0.014
ARRIVED_M: Final = 0.012


def run_up_m(spec: ObjectSpec, along: np.ndarray, yaw_rad: float) -> float:
    """Return the distance from an object's centre, behind it, at which the fingers go down for a push along `[2]`."""
    return spec.reach_m(along, yaw_rad) + _FINGERS_M + _GAP_M


class PushExpert:
    """Goes behind the object, as seen from the target, and pushes it there; starts again if it drifts off the line.

    Args:
        simulation: The running simulation.
        target_m: Where the object's centre is to be, `[3]`; only x and y count.
    """

    def __init__(self, simulation: Simulation, target_m: np.ndarray) -> None:
        self._simulation, self._hand = simulation, Hand(simulation, closed=True)
        self._target = target_m[:2]

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`; the observation is not used."""
        thing, hand = self._simulation.object, self._hand
        centre, position = thing.position_m[:2], hand.position_m
        left = float(np.linalg.norm(self._target - centre))
        hover = hover_height_m(thing.spec.height_m)
        if left < ARRIVED_M:
            return hand.go(position)
        along = (self._target - centre) / left
        reach = thing.spec.reach_m(along, thing.yaw_rad) + _FINGERS_M
        behind = centre - position[:2]
        ahead = float(behind @ along)
        aside = behind - ahead * along
        low = grasp_height_m(thing.spec.height_m)
        is_low = position[2] < low + 0.01
        if is_low and ahead > reach - 0.012 and float(np.linalg.norm(aside)) < _OFF_LINE_M:
            step = min(_SHARE * left + max(0.0, ahead - reach), _PUSH_M)
            return self._level(along * step + aside, low)
        start = centre - run_up_m(thing.spec, along, thing.yaw_rad) * along
        off = float(np.linalg.norm(start - position[:2]))
        if off > 0.01 and position[2] < hover - 0.015:
            return hand.go(np.array([*position[:2], hover]), yaw_rad=0.0, closing=CLOSE)
        if off > 0.01:
            return hand.go(np.array([*start, hover]), yaw_rad=0.0, closing=CLOSE)
        return hand.go(np.array([*start, low]), yaw_rad=0.0, closing=CLOSE)

    def _level(self, way_m: np.ndarray, height_m: float) -> np.ndarray:
        position = self._hand.position_m
        return self._hand.go(np.array([*(position[:2] + way_m), height_m]), yaw_rad=0.0, closing=CLOSE)
