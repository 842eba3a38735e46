"""Reach: move the gripper to the pose that a goal image shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

import numpy as np

from envs.arm.limits import REACH_WORKSPACE, WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.cameras import REACH_MOUNTS
from envs.scenes.factors import vary_scene
from envs.scenes.sampling import sample
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.base import Draw, Goal, Photograph, Status, Task, downward_pose

#: Below this distance of the TCP the goal is reached.
SUCCESS_DISTANCE_M: Final = 0.04


class Reach(Task):
    """The goal is an image of the arm at a randomly drawn pose.

    Attributes:
        success_distance_m: Below this distance of the TCP the goal is reached.
    """

    name = "reach"
    summary = "move the gripper to the pose of the goal image"
    max_steps = 20
    workspace = REACH_WORKSPACE
    mounts = REACH_MOUNTS
    poses = ("goal_state", "start_state")
    success_distance_m: ClassVar[float] = SUCCESS_DISTANCE_M

    def draw(self, variation: Variation, rng: np.random.Generator, given: Mapping[str, Any]) -> Draw:
        """Draw a scene with its start, and a goal pose as the target; the poses may be given."""
        scene = sample(variation, rng)
        position = rng.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        start = given.get("start_state", downward_pose(scene.start_position_m, scene.closure))
        return Draw(
            scene=vary_scene(scene, given["variation"], variation),
            start=start,
            target=given.get("goal_state", downward_pose(position, start[6])),
        )

    def stage(self, simulation: Simulation, draw: Draw, photograph: Photograph) -> Goal:
        """Put the arm at the goal, take the pictures, put it at the start."""
        simulation.place(draw.target, "goal_state")
        goal = Goal(
            images=photograph(), state=simulation.state(), configurations=simulation.configuration[None]
        )
        simulation.place(draw.start, "start_state")
        return goal

    def status(self, simulation: Simulation, goal: Goal) -> Status:
        """Return the distance of the TCP."""
        # In double precision: the goal is what a float32 observation said.
        goal_m = goal.state[:3].astype(np.float64) / simulation.scale
        distance = float(np.linalg.norm(simulation.tcp_m - goal_m))
        return Status(distance_m=distance, success=distance < self.success_distance_m)

    def expert(self, simulation: Simulation, goal: Goal) -> ReachExpert:
        """Return a policy that moves straight to the goal."""
        return ReachExpert(goal.state, simulation.robot.action_high)


class ReachExpert:
    """Moves straight to a pose.

    Args:
        goal: The pose `[7]`; only its position counts.
        action_high: The largest action `[7]`.
    """

    def __init__(self, goal: np.ndarray, action_high: np.ndarray) -> None:
        self._goal_m, self._high = goal[:3], action_high[:3]

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, from `state`."""
        delta = np.clip(self._goal_m - observation["state"][:3], -self._high, self._high)
        return np.concatenate([delta, np.zeros(4)]).astype(np.float32)
