"""Reach: move the gripper to the pose that a goal image shows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal, NoReturn, SupportsIndex

import gymnasium
import mujoco
import numpy as np
from gymnasium import spaces

from envs.arm.controller import (
    CONTROL_HZ,
    DOWN_EULER_RAD,
    ArmController,
    Command,
    tilt_from_down,
)
from envs.arm.limits import MAX_TILT_RAD, WORKSPACE_HIGH_M, WORKSPACE_LOW_M
from envs.arm.model import MAX_IMAGE_SIZE, build_model
from envs.checks import whole_number
from envs.errors import EnvError
from envs.rendering import SceneRenderer
from envs.scene_editor import SceneEditor
from envs.variation import Scene, Variation, sample

SUCCESS_DISTANCE_M: Final = 0.04
ACTION_HIGH: Final = np.array([0.075] * 3 + [0.3] * 3 + [1.0], np.float32)
#: Bounds of the pose: wider than the workspace, since a state is measured, not commanded.
STATE_LOW: Final = np.array([-1.0, -1.0, -0.5, 0.0, -np.pi / 2, -np.pi, 0.0], np.float32)
STATE_HIGH: Final = np.array([1.0, 1.0, 1.5, 2 * np.pi, np.pi / 2, np.pi, 1.0], np.float32)
#: A given pose may lie this far outside the workspace, since measured poses can exceed it slightly.
_WORKSPACE_SLACK_M: Final = 0.02
_TILT_SLACK_RAD: Final = 0.05
_OPTIONS: Final = ("goal_state", "start_state")


class ReachEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """A seven-joint arm over a table; the goal is an image of the arm at a randomly drawn pose.

    Observation: `image`, uint8 `[image_size, image_size, 3]`, and `state`, float32 `[7]`: measured x y z
    [m], extrinsic xyz Euler angles [rad] (the first in [0, 2 pi)), gripper closure [0 open, 1 closed].

    Action, float32 `[7]`: delta x y z [m], Euler angles of R[t+1] R[t]^T [rad], delta closure. An action
    outside the bounds is clipped to them and `info["action_clipped"]` is set. The position that results is
    clipped to the workspace (`info["workspace_clipped"]`). The hand turns at most 0.4 rad away from
    pointing straight down; a rotation that the joint limits forbid is left out, and in the rare case of a position that
    they forbid the arm does not move (`info["reached"]` False).

    Reward: minus the distance [m] between the TCP and the goal's. An episode terminates below 4 cm and is
    truncated after `max_steps`.

    `info` always has `distance` [m], `success`, `action_clipped`, `workspace_clipped`, `reached` and
    `commanded_position` [m]; after `reset` also `goal_image`,
    `goal_state`, `solved_at_reset`, `scene`.

    Args:
        variation: What differs between episodes: "train", "test", "none" or a `Variation`.
        camera: "jittered" draws the camera with the scene; "fixed" keeps the nominal one.
        image_size: Height and width of the images [pixels].
        max_steps: Actions in an episode.
        render_mode: None or "rgb_array".

    Raises:
        EnvError: If an argument is not allowed, or OpenGL does not start.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": CONTROL_HZ}
    action_space: spaces.Box[Any]

    def __init__(
        self,
        variation: str | Variation = "train",
        camera: Literal["jittered", "fixed"] = "jittered",
        image_size: int = 128,
        max_steps: int = 20,
        render_mode: str | None = None,
    ) -> None:
        image_size = whole_number("image_size", image_size, 16, MAX_IMAGE_SIZE)
        self.max_steps = whole_number("max_steps", max_steps, 1)
        _check_choices(camera, render_mode)
        self.variation = _named_variation(variation)
        self.camera, self.render_mode = camera, render_mode
        self.action_space = spaces.Box(-ACTION_HIGH, ACTION_HIGH, dtype=np.float32)
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
                "state": spaces.Box(STATE_LOW, STATE_HIGH, dtype=np.float32),
            }
        )
        self._model = build_model(image_size)
        self._data = mujoco.MjData(self._model)
        self._arm = ArmController(self._model, self._data)
        self._editor = SceneEditor(self._model)
        self._renderer = SceneRenderer(self._model, "view", image_size)
        self._goal_m: np.ndarray | None = None
        self._steps = 0
        self._in_use = threading.RLock()

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Draw a scene, a goal and a start pose; render the goal image; put the arm at the start.

        Args:
            seed: Seed of all randomness; None continues the current random sequence.
            options: May hold `goal_state` and `start_state`, poses `[7]` that replace the drawn ones.

        Returns:
            The first observation, shapes as in the class, and `info`.

        Raises:
            EnvError: If an option is unknown, a given pose is malformed or out of reach, or the seed is not valid.
        """
        given = _check_options(options)
        super().reset(seed=None if seed is None else whole_number("seed", seed, 0))
        with self._in_use:
            return self._begin(given)

    def _begin(self, given: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Start an episode: everything is drawn except the given poses."""
        scene = sample(self.variation, self.np_random)
        goal_position = self.np_random.uniform(WORKSPACE_LOW_M, WORKSPACE_HIGH_M)
        start = given.get("start_state", _downward_pose(scene.start_position_m, scene.closure))
        goal = given.get("goal_state", _downward_pose(goal_position, start[6]))

        self._editor.apply(scene if self.camera == "jittered" else _with_nominal_camera(scene))
        self._renderer.upload_texture(self._editor.texture_id)
        goal_image, goal_state = self._place_and_render(goal, "goal_state")
        image, state = self._place_and_render(start, "start_state")
        self._goal_m, self._steps = goal_state[:3].astype(np.float64), 0
        info = self._info(Command(position_m=self._arm.pose()[:3], workspace_clipped=False, reached=True))
        info |= {
            "goal_image": goal_image,
            "goal_state": goal_state,
            "solved_at_reset": info["success"],
            "scene": scene,
        }
        return {"image": image, "state": state}, info

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Execute one action `[7]`: a quarter of a second of physics. Observations as in the class.

        Raises:
            EnvError: If the action's shape is not `[7]`, an entry is not finite, or `reset` was not called.
        """
        if self._goal_m is None:
            raise EnvError("step was called before reset: call reset first.")
        requested = _check_action(action)
        clipped = np.clip(requested, -ACTION_HIGH, ACTION_HIGH).astype(np.float64)
        with self._in_use:
            command = self._arm.step(clipped)
            self._steps += 1
            info = self._info(command, action_clipped=bool((clipped != requested).any()))
            observation = {"image": self._renderer.render(self._data), "state": self._state()}
            return observation, -info["distance"], info["success"], self._steps >= self.max_steps, info

    def render(self) -> np.ndarray | None:
        """Return the current image, uint8 `[H, W, 3]`; None without a render mode."""
        if self.render_mode != "rgb_array":
            return None
        with self._in_use:
            return self._renderer.render(self._data)

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

    def _place_and_render(self, pose: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Put the arm at rest at a pose and the objects in place; return the image and the measured state."""
        joints, reached = self._arm.joints_for(pose)
        if not reached:
            raise EnvError(
                f"{name} {pose.tolist()} is out of the arm's reach: give a pose the arm has been in."
            )
        mujoco.mj_resetData(self._model, self._data)
        self._arm.place(joints, pose[3:6], float(pose[6]))
        self._arm.settle()
        return self._renderer.render(self._data), self._state()

    def _state(self) -> np.ndarray:
        return np.clip(self._arm.pose().astype(np.float32), STATE_LOW, STATE_HIGH)

    def _info(self, command: Command, *, action_clipped: bool = False) -> dict[str, Any]:
        distance = float(np.linalg.norm(self._arm.pose()[:3] - self._goal_m))
        return {
            "distance": distance,
            "success": distance < SUCCESS_DISTANCE_M,
            "action_clipped": action_clipped,
            "workspace_clipped": command.workspace_clipped,
            "reached": command.reached,
            "commanded_position": command.position_m,
        }


def _with_nominal_camera(scene: Scene) -> Scene:
    return replace(scene, camera_offset=(0.0, 0.0, 0.0), look_at_offset_m=(0.0, 0.0, 0.0))


def _downward_pose(position_m: Any, closure: float) -> np.ndarray:
    return np.array([*position_m, *DOWN_EULER_RAD, closure], dtype=np.float64)


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


def _check_action(action: np.ndarray) -> np.ndarray:
    array = _numeric("action", action)
    if array.shape != ACTION_HIGH.shape:
        raise EnvError(
            f"action has shape {array.shape}, not (7,): give delta xyz, Euler angles, delta closure."
        )
    if not np.isfinite(array).all():
        raise EnvError(f"action {array.tolist()} is not finite: every entry must be a finite number.")
    return array


def _check_options(options: Mapping[str, Any] | None) -> dict[str, np.ndarray]:
    if options is not None and not isinstance(options, Mapping):
        raise EnvError(
            f"reset options {options!r} are not a mapping: give some of {list(_OPTIONS)} with poses."
        )
    given = dict(options or {})
    unknown = [name for name in given if name not in _OPTIONS]
    if unknown:
        raise EnvError(f"reset options {unknown} are unknown: allowed are {list(_OPTIONS)}.")
    return {name: _check_pose(name, pose) for name, pose in given.items()}


def _check_pose(name: str, pose: Any) -> np.ndarray:
    array = _numeric(name, pose)
    if array.shape != (7,) or not np.isfinite(array).all():
        raise EnvError(
            f"{name} {array.tolist()} is not a pose: give 7 finite numbers, xyz, Euler angles, closure."
        )
    low, high = WORKSPACE_LOW_M - _WORKSPACE_SLACK_M, WORKSPACE_HIGH_M + _WORKSPACE_SLACK_M
    if (array[:3] < low).any() or (array[:3] > high).any() or not 0.0 <= array[6] <= 1.0:
        raise EnvError(
            f"{name} {array.tolist()} is out of the workspace: position within {WORKSPACE_LOW_M.tolist()} to "
            f"{WORKSPACE_HIGH_M.tolist()} m, closure within 0 to 1."
        )
    tilt = tilt_from_down(array[3:6])
    if tilt > MAX_TILT_RAD + _TILT_SLACK_RAD:
        raise EnvError(
            f"{name} {array.tolist()} turns the hand {tilt:.2f} rad away from pointing down, Euler angles "
            f"(pi, 0, 0): at most {MAX_TILT_RAD} rad is allowed."
        )
    return array


def _numeric(name: str, values: Any) -> np.ndarray:
    try:
        array = np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:  # tensors on a graphics card, ragged lists
        raise EnvError(f"{name} {values!r} is not an array of numbers: give 7 of them.") from error
    if array.dtype.kind not in "uif":
        raise EnvError(f"{name} {values!r} is not an array of real numbers: give 7 of them.")
    return array.astype(np.float64)
