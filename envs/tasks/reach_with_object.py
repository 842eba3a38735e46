"""Reach with object: carry the object that the gripper holds to the position that the goal image shows."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.experts.picking import CarryExpert
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.base import Draw
from envs.tasks.object_task import ObjectTask

#: The object is at its goal within this distance.
AT_GOAL_M: Final = 0.04
_LOW_M: Final = (0.39, -0.20, 0.10)
_HIGH_M: Final = (0.58, 0.20, 0.24)
_PICK_STEPS: Final = 40
_NEAREST_GOAL_M: Final = 0.10
_START_RISE_M: Final = 0.10


class ReachWithObject(ObjectTask):
    """The gripper holds the object at the start; success is the held object within 4 cm of its goal in the air."""

    name = "reach_with_object"
    summary = "carry the held object to within 4 cm of a position in the air"
    max_steps = 20
    subgoals = ("at_place",)
    expert_steps = 30

    def draw_target(self, scene: Scene, variation: Variation, rng: np.random.Generator) -> np.ndarray:
        """Draw a position in the air."""
        return rng.uniform(_LOW_M, _HIGH_M)

    def has_room(self, scene: Scene, target_m: np.ndarray) -> bool:
        """Return whether the goal is away from the start and the fingers have room around the object."""
        assert scene.object is not None
        far = np.linalg.norm(target_m - self._held_at(scene)) > _NEAREST_GOAL_M
        return bool(far) and super().has_room(scene, np.array(scene.object.position_m))

    def begin(self, simulation: Simulation, draw: Draw) -> bool:
        """Grasp the object and lift it."""
        if not super().begin(simulation, draw):
            return False
        held_at = self._held_at(draw.scene)
        expert = CarryExpert(simulation, held_at)
        for _ in range(_PICK_STEPS):
            if self.distance_to(simulation, held_at) < 0.01 and simulation.object.is_grasped:
                simulation.step(np.zeros(7))
                return simulation.object.is_grasped
            simulation.step(expert.act({}).astype(np.float64))
        return False

    def achieved(self, simulation: Simulation, target_m: np.ndarray) -> tuple[bool, ...]:
        """Return whether the object is held at the goal."""
        near = self.distance_to(simulation, target_m) < AT_GOAL_M
        return (near and simulation.object.is_grasped and simulation.object.is_lifted,)

    def distance_to(self, simulation: Simulation, target_m: np.ndarray) -> float:
        """Return the distance of the object's centre."""
        return float(np.linalg.norm(simulation.object.position_m - target_m))

    def policy(self, simulation: Simulation, target_m: np.ndarray) -> CarryExpert:
        """Return a policy that carries it, and picks it up again if it fell."""
        return CarryExpert(simulation, target_m)

    def _held_at(self, scene: Scene) -> np.ndarray:
        """Return where the object's centre is at the start, `[3]`."""
        assert scene.object is not None
        return np.array([*scene.object.position_m, scene.object.height_m / 2 + _START_RISE_M])
