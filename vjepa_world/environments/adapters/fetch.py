"""The Fetch tasks of gymnasium-robotics, with goal images and scripted experts."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np

from vjepa_world.environments.adapters.base import IMAGE_SIZE, AdaptedEnv, refuse_options
from vjepa_world.environments.adapters.fetch_experts import EXPERTS, FetchExpert, FetchScene
from vjepa_world.environments.adapters.mujoco_tools import render_quickly, restore, snapshot
from vjepa_world.environments.adapters.packages import import_package

#: Closer than the package's camera, so that the gripper is more than a few pixels.
_CAMERA = {"distance": 1.35, "azimuth": 132.0, "elevation": -20.0, "lookat": np.array([1.3, 0.75, 0.5])}
#: An object that moves faster is moving [m/s].
_MOVING_M_S = 0.02
#: Distance of the gripper behind a pushed object's centre [m], and of each finger from the middle of a held one [m].
_BEHIND_M, _FINGER_M = 0.06, 0.024
#: Steps in which the gripper is moved to the goal at most, actions per metre on the way, and distance at its end [m].
_SETTLING_STEPS, _GAIN, _THERE_M = 100, 15.0, 1e-3
#: Where the object waits while the gripper is moved to the goal: outside its reach.
_AWAY = np.array([0.3, 0.0, 0.5])


class FetchEnv(AdaptedEnv):
    """A Fetch task of gymnasium-robotics: a gripper that points down, moved by up to 5 cm in a step.

    Goals and success are the package's: the gripper (Reach) or the object within 5 cm of the goal. The goal image shows
    the gripper there, or the object: behind it the gripper that has pushed it (Push), or around it the gripper that
    holds it (PickAndPlace). The package's marker of the goal is not drawn.

    Args:
        task: Reach, Push or PickAndPlace.
        image_size: Height and width of the images [pixels].

    Raises:
        InstallationError: If gymnasium-robotics is not installed.
    """

    state_names = ("x", "y", "z", "finger_right", "finger_left")
    action_names = ("delta_x", "delta_y", "delta_z", "fingers")
    robot_name = "fetch"

    def __init__(self, task: Literal["Reach", "Push", "PickAndPlace"], image_size: int = IMAGE_SIZE) -> None:
        super().__init__(image_size)
        gymnasium.register_envs(import_package("gymnasium_robotics", "fetch"))
        self.task = task
        made = gymnasium.make(
            f"Fetch{task}-v4",
            max_episode_steps=-1,
            disable_env_checker=True,
            render_mode="rgb_array",
            width=image_size,
            height=image_size,
            default_camera_config=_CAMERA,
        )
        self._inner = made.unwrapped
        self._model, self._data = self._inner.model, self._inner.data
        render_quickly(self._model)
        self._model.site("target0").rgba[3] = 0.0
        of_the_handle = self._model.geom_bodyid == self._model.body("robot0:mocap").id
        self._model.geom_rgba[of_the_handle, 3] = 0.0
        self.action_space = self._inner.action_space

    def get_state(self) -> dict[str, Any]:
        """Return an exact snapshot of the running episode."""
        return {"physics": snapshot(self._data), "goal": self._inner.goal.copy()}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot of :meth:`get_state`."""
        restore(self._model, self._data, state["physics"])
        self._inner.goal = state["goal"].copy()

    def expert(self) -> FetchExpert:
        """Return the scripted expert of the running episode."""
        return EXPERTS[self.task](self._scene)

    def close(self) -> None:
        """Free the renderer."""
        self._inner.close()

    def _begin(self, options: dict[str, Any]) -> None:
        refuse_options(options)
        self._inner.reset(seed=int(self.np_random.integers(2**31)))

    def _goal(self) -> tuple[np.ndarray, np.ndarray | None]:
        saved = self.get_state()
        goal, has_object = self._inner.goal, self._inner.has_object
        gripper = goal.copy()
        if self.task == "Push":
            way = goal[:2] - self._scene().object_m[:2]
            gripper[:2] -= _BEHIND_M * way / max(float(np.linalg.norm(way)), 1e-6)
        if has_object:
            self._put_object(_AWAY)
        for _ in range(_SETTLING_STEPS):
            error = gripper - self._scene().gripper_m
            if np.linalg.norm(error) < _THERE_M:
                break
            self._inner.step(np.append(np.clip(_GAIN * error, -1, 1), 1.0).astype(np.float32))
        if has_object:
            self._put_object(goal)
        if self.task == "PickAndPlace":
            for side in ("l", "r"):
                self._data.joint(f"robot0:{side}_gripper_finger_joint").qpos[0] = _FINGER_M
        self._inner._mujoco.mj_forward(self._model, self._data)
        image, state = self._image(), self._state()
        self.set_state(saved)
        return image, state

    def _put_object(self, position_m: np.ndarray) -> None:
        joint = self._data.joint("object0:joint")
        joint.qpos[:3], joint.qvel[:] = position_m, 0.0

    def _advance(self, action: np.ndarray) -> None:
        self._inner.step(action.astype(np.float32))

    def _outcome(self) -> dict[str, Any]:
        scene = self._scene()
        distance = float(np.linalg.norm(scene.achieved_m - scene.goal_m))
        found: dict[str, Any] = {"distance": distance, "success": distance < self._inner.distance_threshold}
        if self._inner.has_object:
            found["object_moving"] = bool(
                np.linalg.norm(self._data.joint("object0:joint").qvel[:3]) > _MOVING_M_S
            )
        return found

    def _image(self) -> np.ndarray:
        image: np.ndarray = self._inner.render()
        return image

    def _state(self) -> np.ndarray:
        scene = self._scene()
        return np.append(scene.gripper_m, scene.fingers_m)

    def _scene(self) -> FetchScene:
        observation = self._inner._get_obs()
        numbers, has_object = observation["observation"], self._inner.has_object
        return FetchScene(
            gripper_m=numbers[:3],
            fingers_m=numbers[9:11] if has_object else numbers[3:5],
            object_m=numbers[3:6] if has_object else numbers[:3],
            achieved_m=observation["achieved_goal"],
            goal_m=observation["desired_goal"],
        )
