"""What adapters of other packages' environments have in common.

Legend: A action size, S state size, H W pixels.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from vjepa_world.errors import ConfigError

#: Height and width of images, unless given [pixels].
IMAGE_SIZE = 128


class AdaptedEnv(gymnasium.Env[dict[str, np.ndarray], np.ndarray]):
    """An environment of another package with images as observations and as goals.

    Observation: `image`, uint8 `[H, W, 3]`, and `state`, float32 `[S]`, of the robot alone. `info` has `success`,
    `distance` and `object_moving` (of tasks with an object); after a reset also `goal_image` and, where the
    robot's state at the goal is known, `goal_state`. The goal image shows the goal state itself: the simulation is put
    there, rendered, and restored.

    An adapter implements the methods below `# The package`; each begins an episode from `self.np_random` alone.

    Args:
        image_size: Height and width of the images [pixels].
    """

    metadata = {"render_modes": ["rgb_array"]}
    #: Meaning of the numbers of a state, and of an action.
    state_names: tuple[str, ...]
    action_names: tuple[str, ...]
    robot_name: str
    #: The package's environment.
    _inner: Any

    def __init__(self, image_size: int = IMAGE_SIZE) -> None:
        self.image_size = image_size
        self.render_mode = "rgb_array"
        images = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
        states = spaces.Box(-np.inf, np.inf, (len(self.state_names),), np.float32)
        self.observation_space: Any = spaces.Dict({"image": images, "state": states})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; everything random comes from `seed`.

        Raises:
            ConfigError: If an option is not one of the environment's.
        """
        super().reset(seed=seed)
        self._begin(dict(options or {}))
        goal_image, goal_state = self._goal()
        info = self._outcome() | {"goal_image": goal_image}
        if goal_state is not None:
            info["goal_state"] = np.asarray(goal_state, np.float32)
        return self._observation(), info

    def step(self, action: np.ndarray) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Execute an action `[A]`; the reward is the negative distance, and episodes do not end by themselves."""
        self._advance(np.asarray(action))
        info = self._outcome()
        return self._observation(), -info["distance"], False, False, info

    def render(self) -> np.ndarray:
        """Return the image of the current state, uint8 `[H, W, 3]`."""
        return self._image()

    def hold(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the action that moves nothing, float32 `[A]`: zeros, unless actions are targets."""
        return np.zeros(self.action_space.shape or (), np.float32)

    def _observation(self) -> dict[str, np.ndarray]:
        return {"image": self._image(), "state": np.asarray(self._state(), np.float32)}

    # The package

    @abstractmethod
    def _begin(self, options: dict[str, Any]) -> None:
        """Reset the simulation and draw a goal."""

    @abstractmethod
    def _goal(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the image and, if known, the robot's state `[S]` at the goal; the simulation is as before."""

    @abstractmethod
    def _advance(self, action: np.ndarray) -> None:
        """Execute an action `[A]`."""

    @abstractmethod
    def _outcome(self) -> dict[str, Any]:
        """Return `success`, `distance`, and `object_moving` of tasks with an object."""

    @abstractmethod
    def _image(self) -> np.ndarray:
        """Return the image of the current state, uint8 `[H, W, 3]`."""

    @abstractmethod
    def _state(self) -> np.ndarray:
        """Return the robot's state, `[S]`."""


def refuse_options(options: dict[str, Any], *allowed: str) -> None:
    """Refuse options of a reset that an environment does not have.

    Raises:
        ConfigError: If there are any.
    """
    for name in options:
        if name not in allowed:
            raise ConfigError(
                f"the reset option '{name}' is not one of this environment's; allowed: {', '.join(allowed) or 'none'}."
            )
