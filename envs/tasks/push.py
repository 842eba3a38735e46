"""Push: move the object over the table to the place that the goal image shows."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.experts.pushing import PushExpert, run_up_m
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.object_task import ObjectTask, is_clear

#: The object is at the place within this distance.
AT_PLACE_M: Final = 0.04
#: The fingers are next to it with this much between their middle and its side, and this low.
_NEXT_TO_M: Final = 0.045
_DOWN_M: Final = 0.05
_WAY_M: Final = (0.09, 0.17)
#: The fingers are behind the object within this distance of where a push begins, and of its line.
_BEHIND_M: Final = 0.015
#: The hand starts at least this far behind the object.
_RUN_UP_M: Final = 0.07
_LOW_M: Final = (0.37, -0.22)
_HIGH_M: Final = (0.59, 0.22)


class Push(ObjectTask):
    """The goal image shows the object 9 to 17 cm away from where it stands; success within 4 cm of it."""

    name = "push"
    summary = "push the object over the table to within 4 cm of a place"
    max_steps = 40
    start_closure = 1.0
    subgoals = ("at_object", "at_place")
    phases = ("above_start", "at_object", "behind_object", "half_way", "at_place")
    expert_steps = 60
    until_rest = True

    def draw_target(self, scene: Scene, variation: Variation, rng: np.random.Generator) -> np.ndarray:
        """Draw a place at some distance from the object, in any direction."""
        assert scene.object is not None
        angle, way = rng.uniform(-np.pi, np.pi), rng.uniform(*_WAY_M)
        x, y = np.array(scene.object.position_m) + way * np.array([np.cos(angle), np.sin(angle)])
        return np.array([x, y, scene.object.height_m / 2])

    def has_room(self, scene: Scene, target_m: np.ndarray) -> bool:
        """Return whether the way of the push is on the free part of the table."""
        assert scene.object is not None
        start, end = np.array(scene.object.position_m), target_m[:2]
        distance_m = np.linalg.norm(end - start)
        if not distance_m:
            return False  # there is no way to push along
        along = (end - start) / distance_m
        behind = start - max(_RUN_UP_M, run_up_m(scene.object, along, scene.object.yaw_rad)) * along
        way = np.linspace(behind, end, 8)
        low, high = self.workspace.command_low_m[:2], self.workspace.command_high_m[:2]
        within = (
            (behind > low).all() and (behind < high).all() and (end > _LOW_M).all() and (end < _HIGH_M).all()
        )
        return bool(within) and is_clear(scene, way)

    def achieved(self, simulation: Simulation, target_m: np.ndarray) -> tuple[bool, ...]:
        """Return which phases are achieved: of the hand above, next to and behind the object, and of the object."""
        thing, fingers = simulation.object, simulation.closed_fingers_m
        left_m = self.distance_to(simulation, target_m)
        at_place = left_m < AT_PLACE_M
        half_way = at_place or bool(left_m < np.linalg.norm(thing.spec.position_m - target_m[:2]) / 2)
        away = fingers[:2] - thing.position_m[:2]
        gap = float(np.linalg.norm(away)) - thing.spec.reach_m(away, thing.yaw_rad)
        low = bool(fingers[2] < _DOWN_M)
        above = half_way or self._is_behind(simulation, target_m)
        return above, low and bool(gap < _NEXT_TO_M), half_way or (low and above), half_way, at_place

    def _is_behind(self, simulation: Simulation, target_m: np.ndarray) -> bool:
        """Return whether the fingers are where a push of the object to its place begins, at any height."""
        thing, fingers = simulation.object, simulation.closed_fingers_m
        way = target_m[:2] - thing.position_m[:2]
        along = way / np.linalg.norm(way)
        start = thing.position_m[:2] - run_up_m(thing.spec, along, thing.yaw_rad) * along
        return float(np.linalg.norm(fingers[:2] - start)) < _BEHIND_M

    def distance_to(self, simulation: Simulation, target_m: np.ndarray) -> float:
        """Return the distance of the object's centre."""
        return float(np.linalg.norm(simulation.object.position_m - target_m))

    def policy(self, simulation: Simulation, target_m: np.ndarray) -> PushExpert:
        """Return a policy that pushes from behind."""
        return PushExpert(simulation, target_m)
