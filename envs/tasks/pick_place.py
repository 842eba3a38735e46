"""Pick and place: bring the object to the place that the goal image shows, and let go of it."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.experts.picking import PlaceExpert
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.grasp import hand_phases
from envs.tasks.object_task import ObjectTask

#: The object is at the place within this distance, and near it within that.
AT_PLACE_M: Final = 0.04
NEAR_PLACE_M: Final = 0.06
#: Its height above rest at most, once it is put down.
_DOWN_M: Final = 0.008
_LOW_M: Final = (0.39, -0.20)
_HIGH_M: Final = (0.58, 0.20)
_WAY_M: Final = (0.12, 0.30)


class PickPlace(ObjectTask):
    """The object is to stand 12 to 30 cm away; success is within 4 cm of the place, on the table, released."""

    name = "pick_place"
    summary = "put the object down within 4 cm of a place and release it"
    max_steps = 50
    subgoals = ("grasped", "near_place", "at_place")
    phases = ("above_object", "at_object", "gripped", "grasped", "near_place", "put_down", "at_place")
    expert_steps = 60

    def draw_target(self, scene: Scene, variation: Variation, rng: np.random.Generator) -> np.ndarray:
        """Draw a place on the table."""
        assert scene.object is not None
        x, y = rng.uniform(_LOW_M, _HIGH_M)
        return np.array([x, y, scene.object.height_m / 2])

    def has_room(self, scene: Scene, target_m: np.ndarray) -> bool:
        """Return whether the place is neither too near nor too far, and free."""
        assert scene.object is not None
        way = float(np.linalg.norm(target_m[:2] - scene.object.position_m))
        return _WAY_M[0] < way < _WAY_M[1] and super().has_room(scene, target_m)

    def achieved(self, simulation: Simulation, target_m: np.ndarray) -> tuple[bool, ...]:
        """Return which phases are achieved: at the object, carrying it, at the place."""
        thing = simulation.object
        aside = float(np.linalg.norm((thing.position_m - target_m)[:2]))
        held = thing.is_grasped and thing.is_lifted
        put_down = aside < AT_PLACE_M and abs(thing.lift_m) < _DOWN_M
        let_go = not thing.is_touched and not thing.is_moving
        near = held and aside < NEAR_PLACE_M
        return *hand_phases(simulation), held, near, put_down, put_down and let_go

    def distance_to(self, simulation: Simulation, target_m: np.ndarray) -> float:
        """Return the distance of the object's centre."""
        return float(np.linalg.norm(simulation.object.position_m - target_m))

    def policy(self, simulation: Simulation, target_m: np.ndarray) -> PlaceExpert:
        """Return a policy that picks, carries and puts down."""
        return PlaceExpert(simulation, target_m)
