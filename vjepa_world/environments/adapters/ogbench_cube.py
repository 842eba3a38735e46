"""OGBench's cube-single, with goal images and its own expert."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from vjepa_world.environments.adapters.base import IMAGE_SIZE, AdaptedEnv, refuse_options
from vjepa_world.environments.adapters.mujoco_tools import render_quickly, restore, snapshot
from vjepa_world.environments.adapters.packages import import_package
from vjepa_world.errors import ConfigError

#: A cube that moves faster is moving [m/s].
_MOVING_M_S = 0.02


class CubeEnv(AdaptedEnv):
    """OGBench's cube-single: a UR5e that carries one cube to a place.

    Tasks, goals and success are the package's: one of its five tasks, drawn by the seed or given as the reset option
    `task_id`; the cube within 4 cm of the goal. The goal image is the package's too: the cube at the goal, the arm
    somewhere above. The package's marker of the goal is not drawn.

    Args:
        image_size: Height and width of the images [pixels].

    Raises:
        InstallationError: If ogbench is not installed.
    """

    state_names = ("x", "y", "z", "cos_yaw", "sin_yaw", "closure")
    action_names = ("delta_x", "delta_y", "delta_z", "delta_yaw", "delta_closure")
    robot_name = "ogbench_ur5e"

    def __init__(self, image_size: int = IMAGE_SIZE) -> None:
        super().__init__(image_size)
        package = import_package("ogbench.manipspace.envs.cube_env", "ogbench")
        self.action_space = spaces.Box(-1.0, 1.0, (5,), np.float32)
        self._warm_up = spaces.Box(-1.0, 1.0, (5,), np.float32)
        self._inner = _with_actions(package.CubeEnv, self._warm_up)(
            env_type="single",
            terminate_at_goal=False,
            visualize_info=False,
            width=image_size,
            height=image_size,
        )
        self._inner.reset(seed=0)
        render_quickly(self._inner._model)
        self._model, self._data = self._inner._model, self._inner._data

    def get_state(self) -> Any:
        """Return an exact snapshot of the running episode."""
        return snapshot(self._data)

    def set_state(self, state: Any) -> None:
        """Go on from a snapshot of :meth:`get_state`."""
        restore(self._model, self._data, state)

    def expert(self) -> CubeExpert:
        """Return the package's expert for the running episode."""
        return CubeExpert(self._inner)

    def close(self) -> None:
        """Free the renderer."""
        self._inner.close()

    def _begin(self, options: dict[str, Any]) -> None:
        refuse_options(options, "task_id")
        drawn = 1 + int(self.np_random.integers(self._inner.num_tasks))
        task = options.get("task_id", drawn)
        if not isinstance(task, int) or not 1 <= task <= self._inner.num_tasks:
            raise ConfigError(f"the reset option task_id is {task!r}; allowed: 1 to {self._inner.num_tasks}.")
        seed = int(self.np_random.integers(2**31))
        self._warm_up.seed(seed)
        _, info = self._inner.reset(seed=seed, options={"task_id": task, "render_goal": True})
        self._goal_image = info["goal_rendered"]

    def _goal(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._goal_image, None

    def _advance(self, action: np.ndarray) -> None:
        self._inner.step(action)

    def _outcome(self) -> dict[str, Any]:
        cube = self._data.joint("object_joint_0")
        distance = float(np.linalg.norm(cube.qpos[:3] - self._data.mocap_pos[0]))
        return {
            "distance": distance,
            "success": bool(all(self._inner._compute_successes())),
            "object_moving": bool(np.linalg.norm(cube.qvel[:3]) > _MOVING_M_S),
        }

    def _image(self) -> np.ndarray:
        image: np.ndarray = self._inner.render()
        return image

    def _state(self) -> np.ndarray:
        info = self._inner.compute_ob_info()
        yaw, closure = info["proprio/effector_yaw"][0], info["proprio/gripper_opening"][0]
        return np.array([*info["proprio/effector_pos"], np.cos(yaw), np.sin(yaw), closure])


def _with_actions(package_class: type, actions: spaces.Box[Any]) -> type:
    """Return the package's class with a seeded space: its reset samples two actions, each from a new unseeded space."""
    return type("SeededCubeEnv", (package_class,), {"action_space": actions})


class CubeExpert:
    """The package's Markov oracle, which carries the cube to the running episode's goal.

    Args:
        env: The package's environment.
    """

    def __init__(self, env: Any) -> None:
        package = import_package("ogbench.manipspace.oracles.markov.cube_markov", "ogbench")
        self._env, self._oracle = env, package.CubeMarkovOracle(env=env)
        self._oracle.reset(None, None)
        # The oracle draws where it goes at last from NumPy's global generator.
        self._oracle._final_pos = env._arm_sampling_bounds.mean(axis=0)
        self._oracle._final_yaw = 0.0

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Return an action, float32 `[5]`; the observation is not used."""
        info = self._env.compute_ob_info()
        target = {
            "privileged/target_block": 0,
            "privileged/target_block_pos": self._env._data.mocap_pos[0],
            "privileged/target_block_yaw": np.zeros(1),
        }
        action: np.ndarray = self._oracle.select_action(None, info | target)
        return np.clip(action, -1, 1).astype(np.float32)
