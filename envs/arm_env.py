"""The arm as a Gymnasium environment: cameras, clock and one task."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final, Literal, NoReturn, SupportsIndex

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from envs.arm.action import STATE_HIGH, STATE_LOW, check_action
from envs.arm.controller import CONTROL_HZ, Command
from envs.arm.robots import Robot, named_robot
from envs.cameras import View, views_of
from envs.checks import whole_number
from envs.errors import EnvError
from envs.goal_states import GoalStates, states_around
from envs.rendering import SceneRenderer
from envs.scenes.factors import check_factors, vary_scene
from envs.scenes.labels import labels
from envs.scenes.scene import Scene
from envs.scenes.variation import Variation
from envs.simulation import Physics, Simulation
from envs.tasks import TASKS, Draw, Goal, Policy, Task


@dataclass(frozen=True, kw_only=True, eq=False)
class Snapshot:
    """The exact state of a running episode; `ArmEnv.set_state` goes back to it.

    Attributes:
        made_for: Names of the task and of the robot.
        scene: The scene that it belongs to.
        goal: The goal of the episode.
        physics: The state of the simulation.
        steps: Actions so far.
        reached: The sub-goals that were achieved so far.
    """

    made_for: tuple[str, str]
    scene: Scene
    goal: Goal
    physics: Physics
    steps: int
    reached: np.ndarray


Crop = tuple[float, float, float, float]
#: Episodes that are drawn until the expert achieves the goal of one.
_MAX_REDRAWN: Final = 20


class ArmEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """An arm over a table, with a task whose goal is an image.

    Observation: `image`, uint8 `[H, W, 3]`, of the first camera, `image_NAME` of further ones, and `state`,
    float32 `[7]`: measured x y z [m], extrinsic xyz Euler angles [rad] (the first in [0, 2 pi)), gripper closure
    [0 open, 1 closed].

    Action, float32 `[7]`: delta x y z [m], Euler angles of R[t+1] R[t]^T [rad], delta closure. An action
    outside the bounds is clipped to them and `info["action_clipped"]` is set. The position that results is
    clipped to the task's workspace (`info["workspace_clipped"]`). The hand turns at most 0.4 rad away from
    pointing straight down; a rotation that the joint limits forbid is left out, and in the rare case of a position that
    they forbid the arm does not move (`info["reached"]` False).

    Reward: minus the distance [m] that is left to the goal. An episode terminates at success and is
    truncated after `max_steps`.

    `info` always has `distance` [m], `success`, `action_clipped`, `workspace_clipped`, `reached` and
    `commanded_position` [m]; in tasks with an object also `contact`, `object_moving` and `object_lifted`, which are
    about the last control interval, and `subgoals_reached`, bool `[G]`: which were achieved so far. After `reset` also
    `goal_image`, `goal_state`, `solved_at_reset`, `scene`, `factors` (labels of the scene, `envs.scenes.labels`),
    `redrawn_scenes` (scenes that the expert could not solve, and that were drawn again), and where the task has
    sub-goals `subgoal_images`, uint8 `[G, H, W, 3]`, and `subgoal_names`; the last sub-goal is the goal. Further
    cameras' pictures of them are `goal_image_NAME` and `subgoal_images_NAME`.

    Args:
        task: Name of a task, or a `Task`.
        robot: Name of a robot, or a `Robot`.
        variation: What differs between episodes: "train", "test", "none" or a `Variation`.
        camera: "jittered" draws the camera with the scene; "fixed" keeps the nominal one.
        image_size: Height and width of the images, or (height, width), or these by the name of the camera [pixels].
        max_steps: Actions in an episode; None takes the task's.
        render_mode: None or "rgb_array"; the first camera's picture.
        cameras: Names of `envs.cameras.CAMERAS`: "main", "side", "top" next to the table, "wrist" on the hand.
        crop: Left, top, right and bottom of the part of the picture that is shown, from 0 to 1, or these by the name of
            the camera.
        subgoals: Names of the sub-goals, some of the task's `phases`; () takes the task's own.
        factors: Values of factors of variation by name, in all episodes; an option of `reset` goes before.
        ranges: Fields of the `Variation` that are replaced, by name, such as `camera_scale`.

    Raises:
        EnvError: If an argument is not allowed, or OpenGL does not start, or the robot's package is not installed.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    action_space: spaces.Box[Any]

    def __init__(
        self,
        task: str | Task,
        robot: str | Robot = "panda",
        variation: str | Variation = "train",
        camera: Literal["jittered", "fixed"] = "jittered",
        image_size: int | tuple[int, int] | Mapping[str, int | tuple[int, int]] = 128,
        max_steps: int | None = None,
        render_mode: str | None = None,
        cameras: Sequence[str] = ("main",),
        crop: Crop | Mapping[str, Crop] | None = None,
        subgoals: Sequence[str] = (),
        factors: Mapping[str, Any] | None = None,
        ranges: Mapping[str, Any] | None = None,
    ) -> None:
        self.task, self.robot = _named_task(task), named_robot(robot)
        if len(subgoals):
            self.task = self.task.with_subgoals(subgoals)
        self.views = views_of(cameras, image_size, crop)
        self.max_steps = self.task.max_steps if max_steps is None else whole_number("max_steps", max_steps, 1)
        _check_choices(camera, render_mode)
        self.variation = _with_ranges(_named_variation(variation), ranges or {})
        self._factors = check_factors(factors or {}, self.task.factor_parts)
        self.camera, self.render_mode = camera, render_mode
        self.action_space = spaces.Box(-self.robot.action_high, self.robot.action_high, dtype=np.float32)
        self.observation_space = spaces.Dict(
            {
                **{
                    name: spaces.Box(0, 255, (view.height, view.width, 3), np.uint8)
                    for name, view in self._named_views()
                },
                "state": spaces.Box(STATE_LOW, STATE_HIGH, dtype=np.float32),
            }
        )
        self.simulation = Simulation(
            max(view.height for view in self.views),
            max(view.width for view in self.views),
            self.task.workspace,
            self.task.mounts,
            self.robot,
            with_object=self.task.with_object,
        )
        self._renderer = SceneRenderer(self.simulation.model)
        self._scene: Scene | None = None
        self._goal: Goal | None = None
        self._steps = 0
        self._reached = np.zeros(0, bool)
        self._in_use = threading.RLock()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Draw an episode, make its goal in the simulation, and go to its start.

        Args:
            seed: Seed of all randomness; None continues the current random sequence.
            options: What replaces the drawn values; the task says what is allowed.

        Returns:
            The first observation, shapes as in the class, and `info`.

        Raises:
            EnvError: If an option is unknown, malformed or out of reach, or the seed is not valid.
        """
        given = self.task.check_options(options, self.robot)
        given["variation"] = self._factors | given["variation"]
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        with self._in_use:
            return self._begin(given)

    def _begin(self, given: Mapping[str, Any]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        draw, goal, redrawn = self._solvable(given)
        self._goal, self._steps = goal, 0
        self._reached = np.zeros(len(self.task.subgoals), bool)
        at_start = Command(position_m=self.simulation.arm.pose()[:3], workspace_clipped=False, reached=True)
        info = self._info(at_start)
        info |= {
            **{f"goal_{name}": picture for name, picture in goal.images.items()},
            "goal_state": goal.state,
            "solved_at_reset": info["success"],
            "scene": draw.scene,
            "factors": labels(draw.scene),
            "redrawn_scenes": redrawn,
        }
        if goal.subgoal_images is not None:
            info |= {
                name.replace("image", "subgoal_images", 1): pictures
                for name, pictures in goal.subgoal_images.items()
            }
            info["subgoal_names"] = self.task.subgoals
        return self._observe(), info

    def _solvable(self, given: Mapping[str, Any]) -> tuple[Draw, Goal, int]:
        """Draw episodes until the expert achieves the goal of one; return it, and how many it did not."""
        for redrawn in range(_MAX_REDRAWN):
            draw = self.task.draw(self.variation, self.np_random, given)
            if self.camera == "fixed":
                draw = replace(draw, scene=self._with_nominal_camera(draw.scene, given["variation"]))
            self._show(draw.scene)
            goal = self.task.stage(self.simulation, draw, lambda: self._photograph(self.simulation.data))
            if goal is not None:
                return draw, goal, redrawn
        raise EnvError(
            f"the expert of {self.task.name!r} achieved none of {_MAX_REDRAWN} drawn goals: widen the variation, or "
            "leave more of it to be drawn."
        )

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Execute one action `[7]`: a quarter of a second of physics. Observations as in the class.

        Raises:
            EnvError: If the action's shape is not `[7]`, an entry is not finite, or `reset` was not called.
        """
        self._running("step")
        requested = check_action(action)
        clipped = np.clip(requested, self.action_space.low, self.action_space.high).astype(np.float64)
        with self._in_use:
            command = self.simulation.step(clipped)
            self._steps += 1
            info = self._info(command, action_clipped=bool((clipped != requested).any()))
            return self._observe(), -info["distance"], info["success"], self._steps >= self.max_steps, info

    def expert(self) -> Policy:
        """Return a scripted policy that achieves the goal of the running episode.

        Raises:
            EnvError: If `reset` was not called.
        """
        return self.task.expert(self.simulation, self._running("expert"))

    def get_state(self) -> Snapshot:
        """Return an exact copy of the running episode, which `set_state` goes back to.

        Raises:
            EnvError: If `reset` was not called.
        """
        goal = self._running("get_state")
        with self._in_use:
            assert self._scene is not None
            return Snapshot(
                made_for=self._made_for,
                scene=self._scene,
                goal=goal,
                physics=self.simulation.save(),
                steps=self._steps,
                reached=self._reached,
            )

    def set_state(self, state: Snapshot) -> None:
        """Go back to a state, of this episode or of another one of an environment made with the same arguments.

        Raises:
            EnvError: If it is not a state of `get_state`, or one of another task or robot.
        """
        if not isinstance(state, Snapshot):
            raise EnvError(f"set_state got a {type(state).__name__}: give what get_state returned.")
        if state.made_for != self._made_for:
            raise EnvError(
                f"set_state got a state of {' with '.join(state.made_for)}, and the environment is "
                f"{' with '.join(self._made_for)}: give a state of the same task and robot."
            )
        with self._in_use:
            if state.scene is not self._scene:
                self._show(state.scene)
            self._goal, self._steps, self._reached = state.goal, state.steps, state.reached
            self.simulation.restore(state.physics)

    @property
    def _made_for(self) -> tuple[str, str]:
        return self.task.name, self.robot.name

    def states_around_goals(
        self, count: int, radii_m: Sequence[float], rng: np.random.Generator
    ) -> list[GoalStates]:
        """Return pictures of states around each sub-goal of the running episode, which goes on as it was.

        Args:
            count: States of each kind and radius.
            radii_m: Largest distances to the goal.
            rng: Source of all randomness.

        Raises:
            EnvError: If `reset` was not called, the task does not say what its goals are like, `count` is below 1, or
                there is no room for so many states.
        """
        whole_number("count", count, 1)
        goal = self._running("states_around_goals")
        if goal.configurations is None:
            raise EnvError(
                f"the goals of {self.task.name!r} have no configurations: its `stage` must return them in the Goal."
            )
        names = self.task.subgoals or ("goal",)
        with self._in_use:
            return [
                states
                for name, configuration in zip(names, goal.configurations, strict=True)
                for states in states_around(
                    self.simulation,
                    name,
                    configuration,
                    photograph=self._photograph,
                    count=count,
                    radii_m=tuple(radii_m),
                    rng=rng,
                )
            ]

    def render(self) -> np.ndarray | None:
        """Return the current image, uint8 `[H, W, 3]`; None without a render mode."""
        if self.render_mode != "rgb_array":
            return None
        with self._in_use:
            return self._renderer.render(self.simulation.data, self.views[0])

    def close(self) -> None:
        """Free the renderer."""
        with self._in_use:
            self._renderer.close()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Refuse to be copied or pickled.

        Raises:
            EnvError: Always.
        """
        raise EnvError(
            "an environment holds a simulation and OpenGL, and cannot be copied or pickled: make another one with the "
            "same arguments, and reset it with the same seed and options."
        )

    def _running(self, method: str) -> Goal:
        if self._goal is None:
            raise EnvError(f"{method} was called before reset: call reset first.")
        return self._goal

    def _show(self, scene: Scene) -> None:
        self.simulation.show(scene)
        self._renderer.upload_texture(self.simulation.texture_id)
        self._scene = scene

    def _with_nominal_camera(self, scene: Scene, factors: Mapping[str, Any]) -> Scene:
        """Return the scene with its cameras where they are by default, but for the factors that are given."""
        nominal = replace(scene, camera_offset=(0.0, 0.0, 0.0), look_at_offset_m=(0.0, 0.0, 0.0))
        given = {name: value for name, value in factors.items() if name.startswith("camera.")}
        return vary_scene(nominal, given, self.variation)

    def _photograph(self, data: mujoco.MjData) -> dict[str, np.ndarray]:
        """Return the pictures of all cameras of a state by their names in observations."""
        return {name: self._renderer.render(data, view) for name, view in self._named_views()}

    def _observe(self) -> dict[str, np.ndarray]:
        return self._photograph(self.simulation.data) | {"state": self.simulation.state()}

    def _named_views(self) -> list[tuple[str, View]]:
        """Return each view with the name of its picture in observations."""
        first, *others = self.views
        return [("image", first), *((f"image_{view.camera}", view) for view in others)]

    def _info(self, command: Command, *, action_clipped: bool = False) -> dict[str, Any]:
        status = self.task.status(self.simulation, self._running("step"))
        reached = {}
        if status.subgoals is not None:
            self._reached = self._reached | status.subgoals
            reached = {"subgoals_reached": self._reached.copy()}
        return {
            "distance": status.distance_m * self.robot.scale,
            "success": status.success,
            "action_clipped": action_clipped,
            "workspace_clipped": command.workspace_clipped,
            "reached": command.reached,
            "commanded_position": command.position_m,
            **status.flags,
            **reached,
        }


def _named_task(task: object) -> Task:
    if isinstance(task, Task):
        return task
    if not isinstance(task, str) or task not in TASKS:
        raise EnvError(f"task {task!r} is unknown: use one of {sorted(TASKS)} or a Task.")
    return TASKS[task]()


def _check_choices(camera: object, render_mode: object) -> None:
    if not isinstance(camera, str) or camera not in ("jittered", "fixed"):
        raise EnvError(f"camera {camera!r} is unknown: use 'jittered' or 'fixed'.")
    if render_mode is not None and (not isinstance(render_mode, str) or render_mode != "rgb_array"):
        raise EnvError(f"render_mode {render_mode!r} is unknown: use None or 'rgb_array'.")


def _named_variation(variation: object) -> Variation:
    if isinstance(variation, Variation):
        return variation
    if not isinstance(variation, str):
        raise EnvError(f"variation {variation!r} is unknown: use 'train', 'test', 'none' or a Variation.")
    return Variation.named(variation)


def _with_ranges(variation: Variation, ranges: Mapping[str, Any]) -> Variation:
    """Return the variation with some of its fields replaced; lists, as a command line gives them, become tuples."""
    known = [item.name for item in fields(Variation) if item.name != "name"]
    unknown = [name for name in ranges if name not in known]
    if unknown:
        raise EnvError(f"ranges {unknown} are unknown: use some of {known}.")
    return replace(variation, **{name: _tuples(value) for name, value in ranges.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value
