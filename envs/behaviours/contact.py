"""Poke and push the object with closed fingers."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.behaviours.base import ObjectBehaviour
from envs.experts.hand import CLOSE, grasp_height_m, hover_height_m
from envs.experts.pushing import PushExpert

#: Before a poke the fingers stand this far from the object's centre, and it goes on behind it by this much.
_RUN_UP_M: Final = (0.05, 0.09)
_BEHIND_M: Final = (-0.01, 0.04)
_SPEED_M: Final = (0.02, 0.05)
#: Near enough to where a poke starts.
_OVER_M: Final = 0.025
#: Near enough to where an object is pushed.
_AT_M: Final = 0.025
_PLACES_LOW_M: Final = np.array([0.40, -0.18])
_PLACES_HIGH_M: Final = np.array([0.57, 0.18])
#: A push of more actions than this is given up.
_MOST_PUSHES: Final = 16


class Poke(ObjectBehaviour):
    """Goes down next to the object, runs against it in a straight line at some speed, rises, and does it again."""

    name = "poke"
    summary = "run against the object with closed fingers"

    def begin(self) -> None:
        """Draw direction, run-up and speed."""
        angle = self.rng.uniform(-np.pi, np.pi)
        self._along = np.array([np.cos(angle), np.sin(angle)])
        self._run_up = self.rng.uniform(*_RUN_UP_M)
        self._speed = self.rng.uniform(*_SPEED_M)
        self._left = self._run_up + self.rng.uniform(*_BEHIND_M)
        self._phase = "over"

    def next_action(self) -> np.ndarray:
        """Return the next action of: over the start, down, run, up."""
        hand, thing = self.hand, self.simulation.object
        hover = hover_height_m(thing.spec.height_m)
        low = grasp_height_m(thing.spec.height_m)
        position = hand.position_m
        if self._phase == "over":
            start = thing.position_m[:2] - self._run_up * self._along
            if position[2] < hover - 0.02:
                return hand.go(np.array([*position[:2], hover]), closing=CLOSE)
            if np.linalg.norm(position[:2] - start) > _OVER_M:
                return hand.go(np.array([*start, hover]), yaw_rad=0.0, closing=CLOSE)
            self._phase = "down"
        if self._phase == "down":
            self._phase = "run"
            return hand.go(np.array([*position[:2], low]), closing=CLOSE)
        if self._phase == "run" and self._left > 0:
            step = min(self._speed, self._left)
            self._left -= step
            return self.along(np.array([*(step * self._along), low - position[2]]), CLOSE)
        self.begin()
        return hand.go(np.array([*position[:2], hover]), closing=CLOSE)


class Push(ObjectBehaviour):
    """Pushes the object to random places on the table, one after the other."""

    name = "push"
    summary = "push the object to random places"

    def begin(self) -> None:
        """Draw a place."""
        x, y = self.rng.uniform(_PLACES_LOW_M, _PLACES_HIGH_M)
        self._place = np.array([x, y, 0.0])
        self._expert = PushExpert(self.simulation, self._place)
        self._left = _MOST_PUSHES

    def next_action(self) -> np.ndarray:
        """Return the next action of the push; after it, of the next one."""
        self._left -= 1
        way = self.simulation.object.position_m[:2] - self._place[:2]
        if self._left <= 0 or np.linalg.norm(way) < _AT_M:
            self.begin()
        return self._expert.act({})
