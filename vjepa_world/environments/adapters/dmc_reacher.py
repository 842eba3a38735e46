"""The Reacher of dm_control, with goal images and a scripted expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from gymnasium import spaces

from vjepa_world.environments.adapters.base import IMAGE_SIZE, AdaptedEnv, refuse_options
from vjepa_world.environments.adapters.mujoco_tools import quick_renderer, restore, snapshot
from vjepa_world.environments.adapters.packages import import_package

#: Length of each of both links [m].
_LINK_M = 0.12
#: Gains of the expert: torque per radian and per radian/s.
_STIFFNESS, _DAMPING = 8.0, 0.5


class ReacherEnv(AdaptedEnv):
    """dm_control's Reacher: an arm of two links in a plane, moved by torques.

    Success is the package's: the centre of the fingertip within 2.5 cm (`hard`) or 6 cm (`easy`) of the target's. The
    goal image shows the arm at rest with its fingertip at the target, by one of the two solutions of its inverse
    kinematics, drawn by the seed. The target itself is not drawn.

    Args:
        difficulty: Of the package: easy or hard.
        image_size: Height and width of the images [pixels].

    Raises:
        InstallationError: If dm_control is not installed.
    """

    state_names = ("cos_shoulder", "sin_shoulder", "wrist", "shoulder_speed", "wrist_speed")
    action_names = ("shoulder_torque", "wrist_torque")
    robot_name = "dm_control_reacher"

    def __init__(self, difficulty: Literal["easy", "hard"] = "hard", image_size: int = IMAGE_SIZE) -> None:
        super().__init__(image_size)
        suite = import_package("dm_control.suite", "dm_control")
        self._inner = suite.load("reacher", difficulty, task_kwargs={"time_limit": float("inf")})
        self._physics = self._inner.physics
        self._model, self._data = self._physics.model.ptr, self._physics.data.ptr
        self._model.material("target").rgba[3] = 0.0
        # The package's own renderer returns garbage without multisampling.
        self._renderer = quick_renderer(self._model, image_size)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._goal_angles = np.zeros(2)

    def get_state(self) -> dict[str, Any]:
        """Return an exact snapshot of the running episode."""
        return {
            "physics": snapshot(self._data),
            "target": self._model.geom("target").pos.copy(),
            "goal_angles": self._goal_angles.copy(),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a snapshot of :meth:`get_state`."""
        self._model.geom("target").pos[:] = state["target"]
        self._goal_angles = state["goal_angles"].copy()
        restore(self._model, self._data, state["physics"])

    def expert(self) -> ReacherExpert:
        """Return the scripted expert of the running episode."""
        return ReacherExpert(self._data, self._goal_angles)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()
        self._physics.free()

    def _begin(self, options: dict[str, Any]) -> None:
        refuse_options(options)
        of_the_task = self._inner.task.random
        of_the_task.seed(int(self.np_random.integers(2**31)))
        self._inner.reset()
        self._goal_angles = angles_at(self._model.geom("target").pos[:2], bool(self.np_random.integers(2)))

    def _goal(self) -> tuple[np.ndarray, np.ndarray | None]:
        saved = self.get_state()
        with self._physics.reset_context():
            self._data.qpos[:], self._data.qvel[:] = self._goal_angles, 0.0
        image, state = self._image(), self._state()
        self.set_state(saved)
        return image, state

    def _advance(self, action: np.ndarray) -> None:
        self._inner.step(action)

    def _outcome(self) -> dict[str, Any]:
        distance = float(self._physics.finger_to_target_dist())
        within = float(self._model.geom("target").size[0] + self._model.geom("finger").size[0])
        return {"distance": distance, "success": distance <= within}

    def _image(self) -> np.ndarray:
        self._renderer.update_scene(self._data, camera="fixed")
        image: np.ndarray = self._renderer.render()
        return image

    def _state(self) -> np.ndarray:
        shoulder, wrist = self._data.qpos
        return np.array([np.cos(shoulder), np.sin(shoulder), wrist, *self._data.qvel])


class ReacherExpert:
    """Turns the joints towards the goal's angles, with a damped spring.

    Args:
        data: Of the simulation.
        goal_angles: Of shoulder and wrist, `[2]` [rad].
    """

    def __init__(self, data: Any, goal_angles: np.ndarray) -> None:
        self._data, self._goal_angles = data, goal_angles

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Return an action, float32 `[2]`; the observation is not used."""
        error = self._goal_angles - self._data.qpos
        error[0] = np.remainder(error[0] + np.pi, 2 * np.pi) - np.pi
        return np.clip(_STIFFNESS * error - _DAMPING * self._data.qvel, -1, 1).astype(np.float32)


def angles_at(position_m: np.ndarray, elbow_left: bool) -> np.ndarray:
    r"""Return the angles of shoulder and wrist, `[2]` [rad], that put the fingertip at a position, `[2]` [m].

    The fingertip is at distance :math:`2 l \cos(w / 2)` for the wrist's angle w, in the direction s + w / 2.
    """
    distance = float(np.linalg.norm(position_m))
    wrist = 2 * np.arccos(min(distance / (2 * _LINK_M), 1.0)) * (1 if elbow_left else -1)
    return np.array([np.arctan2(position_m[1], position_m[0]) - wrist / 2, wrist])
