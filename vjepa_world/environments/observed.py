"""An environment of any origin with observations and actions in the form that world models use.

Legend: A action size, S state size, H W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from vjepa_world.environments.config import EnvConfig
from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.environments.spaces import (
    ActionMap,
    described,
    entries_of,
    entry_at,
    find_image,
    find_states,
    is_image,
    to_image,
    white_of,
)
from vjepa_world.environments.values import flag, number, vector
from vjepa_world.errors import ConfigError, VJEPAWorldError, nearest
from vjepa_world.errors import described as error_in_words

logger = logging.getLogger(__name__)

RENDER = "render"
#: What a step returns.
_STEP = ("observation", "reward", "terminated", "truncated", "info")


class ObservedEnv(gymnasium.Wrapper[dict[str, np.ndarray], Any, Any, Any]):
    """Gives images and a state as observations, takes flat actions, repeats them, and checks what comes back.

    Observation: `image`, uint8 `[H, W, 3]`, `image_<camera>` of further cameras, and `state`, float32 `[S]`, which is
    missing where the environment has none. Action: `Box` float32 `[A]`, or `Discrete(n)`.

    Args:
        env: The environment; rendering it needs `render_mode="rgb_array"`.
        config: Where its image and state are, and how actions are executed.

    Raises:
        ConfigError: If something about it cannot be inferred; the key to give is named.
        EnvironmentFailure: If its first reset fails.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], config: EnvConfig) -> None:
        super().__init__(env)
        self.config = config
        self.steps = 0
        self.actions = ActionMap.of(env.action_space, config.action_low, config.action_high)
        self.action_space = self.actions.space
        self._images = _image_sources(env.observation_space, config)
        self._states = find_states(env.observation_space, config.state)
        entries = entries_of(env.observation_space)
        self._whites = {name: white_of(entries.get(key)) for name, key in self._images.items()}
        self._sizes: dict[str, tuple[int, ...]] = {}
        observation, _ = self.reset(seed=0)
        self.observation_space: spaces.Space[Any] = spaces.Dict(
            {name: _space_of(value) for name, value in observation.items()}
        )

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Begin an episode; see :class:`gymnasium.Env`.

        Raises:
            EnvironmentFailure: If the environment raises an error, or returns something that cannot be used.
        """
        self.steps = 0
        found = self._call("reset", lambda: self.env.reset(seed=seed, options=options))
        observation, info = self._parts("reset", found, ("observation", "info"))
        return self.observe(observation), self._checked_info(info)

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        """Execute an action `frame_skip` times, or until the episode ends; the rewards are summed.

        Raises:
            EnvironmentFailure: As :meth:`reset`; or if the action is not allowed.
        """
        inner = self.actions.to_env(self.actions.checked(action))
        self.steps += 1
        total = 0.0
        for _ in range(self.config.frame_skip):
            found = self._call("step", lambda: self.env.step(inner))
            observation, reward, *ends, info = self._parts("step", found, _STEP)
            total += number(reward, f"{self._when()}: the reward")
            terminated, truncated = (
                flag(end, f"{self._when()}: {name}") for end, name in zip(ends, _STEP[2:4], strict=True)
            )
            if terminated or truncated:
                break
        return self.observe(observation), total, terminated, truncated, self._checked_info(info)

    def close(self) -> None:
        """Close the environment; an error of it is a warning, so that what was measured or recorded is not lost."""
        try:
            self._call("close", self.env.close)
        except EnvironmentFailure as error:
            logger.warning("%s", error)

    def observe(self, observation: Any) -> dict[str, np.ndarray]:
        """Return an observation of the environment in the form here.

        Raises:
            EnvironmentFailure: If an image has another size than before, or a number is not finite.
        """
        found = {}
        for name, key in self._images.items():
            value = self._rendered() if key == RENDER else entry_at(observation, key)
            self._check_size("image", name, np.shape(value))
            found[name] = self.picture(name, value, f"{self._when()}: the image")
        if self._states:
            what = f"{self._when()}: the state"
            found["state"] = np.concatenate(
                [vector(entry_at(observation, key), what) for key in self._states]
            )
            self._check_size("state", "state", found["state"].shape)
        return found

    def picture(self, name: str, value: Any, what: str) -> np.ndarray:
        """Return an image of the environment, or of a goal, as observations have it: uint8 `[H, W, 3]`.

        Args:
            name: Which image of the observations it is, or the goal of; it decides which number is white.
            value: The image.
            what: What it is called in errors.

        Raises:
            EnvironmentFailure: If it is no image.
        """
        return to_image(value, what, self.config.image_size, white=self._whites.get(name))

    def check_still_shown(self, observation: Mapping[str, np.ndarray], who: str) -> None:
        """Check that a function has left an environment that draws itself where it was.

        Args:
            observation: The one before the function was called.
            who: What the function is called in the error.

        Raises:
            EnvironmentFailure: If it looks different now, and does not do so from one drawing to the next.
        """
        for name in (name for name, key in self._images.items() if key == RENDER):
            seen = self.picture(name, self._rendered(), "the image")
            if np.array_equal(seen, observation[name]):
                continue
            if np.array_equal(seen, self.picture(name, self._rendered(), "the image")):
                raise EnvironmentFailure(
                    f"{who} has moved the environment {self.config.id}: its {name} is not that of the start. The "
                    "function must bring the environment back to where it was."
                )

    def sources(self) -> str:
        """Return in words what observations are made of."""
        images = ", ".join("render()" if key == RENDER else key for key in self._images.values())
        return f"image from {images}; state from {'+'.join(self._states) or 'none'}"

    def _check_size(self, what: str, name: str, shape: tuple[int, ...]) -> None:
        if self._sizes.setdefault(name, shape) != shape:
            raise EnvironmentFailure(
                f"{self._when()}: the {what} has shape {list(shape)}, and had {list(self._sizes[name])} before; "
                f"{what}s of one size are needed."
            )

    def _rendered(self) -> Any:
        image = self._call("render", self.env.render)
        if not isinstance(image, np.ndarray):
            raise EnvironmentFailure(
                f"{self._when()}: render() returned {type(image).__name__}; allowed is an array [H, W, 3], which "
                "environments return with render_mode=rgb_array."
            )
        return image

    def _call(self, what: str, function: Any) -> Any:
        try:
            return function()
        except VJEPAWorldError:
            raise
        except (Exception, SystemExit) as error:  # of a foreign environment: any
            raise EnvironmentFailure(f"{self._when()}: {what} raised {error_in_words(error)}") from error

    def _parts(self, what: str, found: Any, names: tuple[str, ...]) -> Any:
        """Return what a reset or a step returned, as many parts as Gymnasium has."""
        if not isinstance(found, tuple | list) or len(found) != len(names):
            got = f"{len(found)} values" if isinstance(found, tuple | list) else f"a {type(found).__name__}"
            raise EnvironmentFailure(
                f"{self._when()}: {what} returned {got}; allowed is ({', '.join(names)}), as in Gymnasium. An "
                "environment of the older Gym needs a wrapper, such as that of the package shimmy."
            )
        return found

    def _checked_info(self, info: Any) -> dict[str, Any]:
        if not isinstance(info, Mapping):
            raise EnvironmentFailure(
                f"{self._when()}: info is a {type(info).__name__}; allowed is a dictionary."
            )
        return dict(info)

    def _when(self) -> str:
        where = f"step {self.steps}" if self.steps else "reset"
        return f"the environment {self.config.id} at {where}"


def _image_sources(space: spaces.Space[Any], config: EnvConfig) -> dict[str, str]:
    """Return where each image is, by its name in the observations here: a key, or `render`."""
    first = config.image if config.image != "auto" else find_image(space) or RENDER
    sources = {"image": first}
    for camera in config.cameras:
        name = f"image_{camera.replace('.', '_')}"
        if name in sources or camera == first:
            raise ConfigError(
                f"env.cameras={','.join(config.cameras)} shows '{camera}' twice, or two cameras as {name}; the first "
                f"one, {first}, is env.image. Name each further camera once."
            )
        sources[name] = camera
    entries = entries_of(space)
    for key in sources.values():
        if key != RENDER and (key not in entries or not is_image(entries[key])):
            images = [name for name, entry in entries.items() if is_image(entry)]
            raise ConfigError(
                f"'{key}' is no image of the environment's observations ({described(space)}); "
                f"{nearest(key, [*images, RENDER])} The first one is env.image, further ones are env.cameras."
            )
    return sources


def _space_of(value: np.ndarray) -> spaces.Box[Any]:
    if value.dtype == np.uint8:
        return spaces.Box(0, 255, value.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, value.shape, np.float32)
