"""Grasp: hold the object with both fingers and lift it."""

from __future__ import annotations

from typing import Final

import numpy as np

from envs.experts.hand import Hand, grasp_height_m, hover_height_m
from envs.experts.picking import LIFT_M, GraspExpert
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.object_task import ObjectTask

#: The object is lifted when its centre is this much higher than at rest.
LIFTED_M: Final = 0.05
#: The TCP is above the object within this distance aside, and of where it hovers before it grasps.
ABOVE_OBJECT_M: Final = 0.015
#: The TCP is at the object within this distance of where it grasps.
AT_OBJECT_M: Final = 0.015


class Grasp(ObjectTask):
    """The goal image shows the object held by both fingers, above where it stood; success from 5 cm."""

    name = "grasp"
    summary = "hold the object with both fingers and lift it 5 cm"
    max_steps = 30
    subgoals = ("at_object", "lifted")
    phases = ("above_object", "at_object", "gripped", "lifted")
    expert_steps = 30

    def draw_target(self, scene: Scene, variation: Variation, rng: np.random.Generator) -> np.ndarray:
        """Return a position above the object."""
        assert scene.object is not None
        return np.array([*scene.object.position_m, scene.object.height_m / 2 + LIFT_M])

    def achieved(self, simulation: Simulation, target_m: np.ndarray) -> tuple[bool, ...]:
        """Return whether the hand is at the object, holds it, and has lifted it."""
        return *hand_phases(simulation), simulation.object.is_grasped and simulation.object.lift_m >= LIFTED_M

    def distance_to(self, simulation: Simulation, target_m: np.ndarray) -> float:
        """Return the way of the hand to the object plus the way that is left up."""
        gap = 0.0 if simulation.object.is_grasped else gap_to_grasp_m(simulation)
        return gap + max(0.0, LIFTED_M - simulation.object.lift_m)

    def policy(self, simulation: Simulation, target_m: np.ndarray) -> GraspExpert:
        """Return a policy that grasps and lifts."""
        return GraspExpert(simulation)


def hand_phases(simulation: Simulation) -> tuple[bool, bool, bool]:
    """Return whether the hand is above the object or lower, where it grasps it, and whether both fingers hold it."""
    thing, hand = simulation.object, Hand(simulation)
    at_object = gap_to_grasp_m(simulation) < AT_OBJECT_M
    aside = float(np.linalg.norm((hand.position_m - thing.position_m)[:2]))
    above = (
        aside < ABOVE_OBJECT_M and hand.position_m[2] < hover_height_m(thing.spec.height_m) + ABOVE_OBJECT_M
    )
    return above or thing.is_grasped, at_object or thing.is_grasped, thing.is_grasped


def gap_to_grasp_m(simulation: Simulation) -> float:
    """Return the distance between the TCP and where it would grasp the object."""
    thing = simulation.object
    grasp = thing.position_m
    grasp[2] = thing.lift_m + grasp_height_m(thing.spec.height_m)
    return float(np.linalg.norm(Hand(simulation).position_m - grasp))
