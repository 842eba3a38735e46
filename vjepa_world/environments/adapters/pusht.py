"""Push-T of gym-pusht, with goal images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from vjepa_world.environments.adapters.base import IMAGE_SIZE, AdaptedEnv, refuse_options
from vjepa_world.environments.adapters.packages import import_package

#: Side of the square field [pixels of the package], and how close to its edge the pusher is put at the goal.
_FIELD, _MARGIN = 512.0, 30.0
#: Distance of the pusher from the block's position in the goal image [pixels of the package].
_BEHIND = 120.0
#: A block that moves or turns faster is moving [pixels/s, rad/s].
_MOVING, _TURNING = 5.0, 0.1


class PushTEnv(AdaptedEnv):
    """gym-pusht's Push-T: a round pusher moves a T-shaped block onto a goal pose. An action is the pusher's target.

    Goal and success are the package's: 95 % of the goal's T, which is always the same, are covered. `distance` is the
    share that is not. The goal image shows the block there, and the pusher behind it on the line from the block's
    start. The package has no expert.

    Args:
        image_size: Height and width of the images [pixels].

    Raises:
        InstallationError: If gym-pusht is not installed.
    """

    state_names = ("pusher_x", "pusher_y")
    action_names = ("target_x", "target_y")
    robot_name = "pusht"

    def __init__(self, image_size: int = IMAGE_SIZE) -> None:
        super().__init__(image_size)
        package = import_package("gym_pusht.envs.pusht", "pusht")
        self._inner = package.PushTEnv(
            obs_type="pixels", observation_width=image_size, observation_height=image_size
        )
        self.action_space = self._inner.action_space

    def hold(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the pusher's position as its target, float32 `[2]`."""
        return np.asarray(observation["state"], np.float32)

    def close(self) -> None:
        """Close the package's window, if it has one."""
        self._inner.close()

    def _begin(self, options: dict[str, Any]) -> None:
        refuse_options(options)
        self._seed = int(self.np_random.integers(2**31))
        self._inner.reset(seed=self._seed)

    def _goal(self) -> tuple[np.ndarray, np.ndarray | None]:
        x, y, angle = self._inner.goal_pose
        way = np.array([x, y]) - np.array(self._inner.block.position)
        pusher = np.array([x, y]) - _BEHIND * way / max(float(np.linalg.norm(way)), 1e-6)
        pusher = np.clip(pusher, _MARGIN, _FIELD - _MARGIN)
        # The angle first: it turns the block around its centre of mass, which is not its position.
        self._inner.block.angle = angle
        self._inner.block.position = x, y
        self._inner.agent.position = tuple(pusher)
        for body in (self._inner.block, self._inner.agent):
            self._inner.space.reindex_shapes_for_body(body)
        image, state = self._image(), self._state()
        self._inner.reset(seed=self._seed)
        return image, state

    def _advance(self, action: np.ndarray) -> None:
        self._inner.step(np.asarray(action, np.float64))

    def _outcome(self) -> dict[str, Any]:
        coverage, block = float(self._inner._get_coverage()), self._inner.block
        return {
            "distance": 1.0 - coverage,
            "success": coverage > self._inner.success_threshold,
            "object_moving": bool(block.velocity.length > _MOVING or abs(block.angular_velocity) > _TURNING),
        }

    def _image(self) -> np.ndarray:
        image: np.ndarray = self._inner.get_obs()
        return image

    def _state(self) -> np.ndarray:
        return np.array(self._inner.agent.position)


def pushes(env: PushTEnv, rng: np.random.Generator) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """Return a behaviour for recordings: targets near the block, each held for a few steps, so that it is pushed often.

    For `behaviour=vjepa_world.environments.adapters.pusht:pushes`.
    """
    target, left = np.zeros(2), 0

    def act(observation: Mapping[str, Any]) -> np.ndarray:
        nonlocal target, left
        if not left:
            target = np.array(env._inner.block.position) + rng.uniform(-120, 120, 2)
            left = int(rng.integers(2, 8))
        left -= 1
        return np.clip(target, 0, _FIELD).astype(np.float32)

    return act
