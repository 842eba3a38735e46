"""What tasks with an object share: scenes with room around it, goals made by the expert, flags."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np

from envs.arm.limits import TABLE_WORKSPACE, WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.cameras import TABLE_MOUNTS
from envs.errors import EnvError
from envs.scenes.factors import vary_goal, vary_object, vary_scene
from envs.scenes.objects import ObjectSpec
from envs.scenes.sampling import sample, sample_object
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Simulation
from envs.tasks.base import Draw, Goal, Photograph, Pictures, Policy, Status, Task, downward_pose

#: Heights of the TCP at the start: the fingers are above every object.
_START_Z_M: Final = (0.14, 0.24)
#: What open fingers need around the centre of an object.
FINGER_ROOM_M: Final = 0.065
_SCENES: Final = 30
_LAYOUTS: Final = 100  # drawn for one scene, before another one is drawn
_SETTLE_STEPS: Final = 2
#: Control intervals that a goal is held, without an action, before its picture is taken.
_HELD_STEPS: Final = 2
#: An expert that moves by less in an action stays where it is.
_REST_M: Final = 0.003


class ObjectTask(Task):
    """A task with an object, whose goal is what the expert achieves in the same scene.

    Attributes:
        start_closure: Closure of the gripper at the start.
        expert_steps: Actions that the expert may take.
        until_rest: Whether the goal image is taken once the expert stays where it is; else as soon as the goal stays
            achieved, be the expert on its way or not.
    """

    workspace = TABLE_WORKSPACE
    mounts = TABLE_MOUNTS
    with_object = True
    factor_parts = ("scene", "object", "goal")
    start_closure: ClassVar[float] = 0.0
    expert_steps: ClassVar[int]
    until_rest: ClassVar[bool] = False

    def draw(self, variation: Variation, rng: np.random.Generator, given: Mapping[str, Any]) -> Draw:
        """Draw a scene with room for the fingers around the object and the target."""
        factors = given["variation"]
        for _ in range(_SCENES):
            scene = vary_scene(sample(variation, rng), factors, variation)
            for _ in range(_LAYOUTS):
                laid = replace(scene, object=vary_object(sample_object(variation, rng), factors))
                target = vary_goal(self.draw_target(laid, variation, rng), factors)
                if self.has_room(laid, target):
                    return Draw(scene=laid, start=self._start(laid), target=target)
        raise EnvError(
            f"no layout of object and goal in {_SCENES} scenes is possible for the task with the factors "
            f"{dict(factors)}: the goal is too near to the object, too far from it or off the free part of the table, "
            "or clutter is in the way. Leave more of clutter.count, object.x, object.y and goal.* to be drawn."
        )

    def stage(self, simulation: Simulation, draw: Draw, photograph: Photograph) -> Goal | None:
        """Let the expert achieve the goal, taking pictures, and go back to the start."""
        if not self.begin(simulation, draw):
            return None
        start = simulation.save()
        goal = self._achieved(simulation, draw, photograph)
        simulation.restore(start)
        return goal

    def begin(self, simulation: Simulation, draw: Draw) -> bool:
        """Bring the simulation to the start of the episode; return whether that worked."""
        simulation.place(draw.start, "start_state")
        for _ in range(_SETTLE_STEPS):
            simulation.step(np.zeros(7))
        return bool(np.abs(simulation.object.position_m[:2] - _object(draw.scene).position_m).max() < 0.01)

    def _achieved(self, simulation: Simulation, draw: Draw, photograph: Photograph) -> Goal | None:
        """Return the goal with its pictures once the expert has achieved it and it stays achieved."""
        expert = self.policy(simulation, draw.target)
        images: dict[int, Pictures] = {}
        configurations: dict[int, np.ndarray] = {}
        held = 0
        for _ in range(self.expert_steps):
            action = np.asarray(expert.act({"state": simulation.state()}), np.float64)
            simulation.step(action)
            status = self.status_of(simulation, draw.target)
            assert status.subgoals is not None
            for index in np.flatnonzero(status.subgoals[:-1]).tolist():
                if index not in images:
                    images[index], configurations[index] = photograph(), simulation.configuration
            held = held + 1 if status.success else 0
            rests = not self.until_rest or bool(np.abs(action[:3]).max() < _REST_M)
            if held > _HELD_STEPS and rests and not simulation.object.is_moving:
                break
        else:
            return None
        last = len(self.subgoals) - 1
        images[last], configurations[last] = photograph(), simulation.configuration
        if len(images) <= last:
            return None
        goal = images[last]
        return Goal(
            images=goal,
            state=simulation.state(),
            object_m=simulation.object.position_m,
            subgoal_images={
                name: np.stack([images[index][name] for index in range(len(self.subgoals))]) for name in goal
            },
            configurations=np.stack([configurations[index] for index in range(len(self.subgoals))]),
        )

    def status(self, simulation: Simulation, goal: Goal) -> Status:
        """Return how far the present state of the simulation is from the goal."""
        assert goal.object_m is not None
        return self.status_of(simulation, goal.object_m)

    def expert(self, simulation: Simulation, goal: Goal) -> Policy:
        """Return a policy that achieves the goal from any state."""
        assert goal.object_m is not None
        return self.policy(simulation, goal.object_m)

    @abstractmethod
    def draw_target(self, scene: Scene, variation: Variation, rng: np.random.Generator) -> np.ndarray:
        """Draw where the object's centre is to be, `[3]`."""

    @abstractmethod
    def distance_to(self, simulation: Simulation, target_m: np.ndarray) -> float:
        """Return what is left [m] until the object is at a target `[3]` as the task wants it."""

    @abstractmethod
    def achieved(self, simulation: Simulation, target_m: np.ndarray) -> tuple[bool, ...]:
        """Return which of `phases` are achieved at present; the last is success."""

    @abstractmethod
    def policy(self, simulation: Simulation, target_m: np.ndarray) -> Policy:
        """Return a policy that brings the object to a target `[3]` from any state."""

    def has_room(self, scene: Scene, target_m: np.ndarray) -> bool:
        """Return whether fingers have room at the object and at the target."""
        return is_clear(scene, np.stack([_object(scene).position_m, target_m[:2]]))

    def status_of(self, simulation: Simulation, target_m: np.ndarray) -> Status:
        """Return how far the present state is from one with the object at a target `[3]`."""
        achieved = dict(zip(self.phases, self.achieved(simulation, target_m), strict=True))
        thing = simulation.object
        return Status(
            distance_m=self.distance_to(simulation, target_m),
            success=bool(achieved[self.phases[-1]]),
            flags={
                "contact": thing.was_touched,
                "object_moving": thing.is_moving,
                "object_lifted": thing.is_lifted,
            },
            subgoals=np.array([achieved[name] for name in self.subgoals]),
        )

    def _start(self, scene: Scene) -> np.ndarray:
        """Return the pose of the start, `[7]`: the scene's, in the box of this task and above the objects."""
        low, high = self.workspace.command_low_m, self.workspace.command_high_m
        share = (np.array(scene.start_position_m) - WORKSPACE_LOW_M) / (WORKSPACE_HIGH_M - WORKSPACE_LOW_M)
        floor, ceiling = np.array([*low[:2], _START_Z_M[0]]), np.array([*high[:2], _START_Z_M[1]])
        return downward_pose(floor + share * (ceiling - floor), self.start_closure)


def is_clear(scene: Scene, points_m: np.ndarray) -> bool:
    """Return whether the open fingers have room at table positions `[N, 2]` next to the other objects."""
    for item in scene.clutter:
        x, y, _ = item.half_size_m
        gaps = np.linalg.norm(points_m - item.position_m, axis=1)
        if gaps.min() < float(np.hypot(x, y)) + FINGER_ROOM_M:
            return False
    return True


def _object(scene: Scene) -> ObjectSpec:
    assert scene.object is not None
    return scene.object
