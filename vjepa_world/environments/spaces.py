"""Actions and observations of any environment in the form that world models use.

Legend: A action size, n choices, S state size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from vjepa_world.environments.errors import EnvironmentFailure
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.ops.pixels import resize_frames

#: The name of an observation that is not a dictionary.
WHOLE = "observation"
#: Keys that are taken where several would do, the likeliest first.
IMAGE_KEYS = ("image", "pixels", "rgb", "observation.image", "agentview_image", "screen")
STATE_KEYS = ("state", "agent_pos", "proprio", "robot_state", "observation.state", "observation", "pos")
_LEAST_SIDE = 8  # pixels
#: How far real numbers of an image may be outside of black and white, as those of smoothly resized ones.
_OVERSHOOT = 0.1


@dataclass(frozen=True)
class ActionMap:
    """Converts actions: `[A]` of the form here to the environment's shape and type, or an index of choices.

    Attributes:
        space: The form here: `Box` float32 `[A]`, or `Discrete(n)` from 0.
        inner: The environment's own.
    """

    space: spaces.Box[Any] | spaces.Discrete
    inner: spaces.Box[Any] | spaces.Discrete

    @classmethod
    def of(cls, space: spaces.Space[Any], low: Sequence[float], high: Sequence[float]) -> ActionMap:
        """Return the map for an action space.

        Args:
            space: The environment's.
            low: `env.action_low`: replaces its lowest action; one number for all axes or one each; () for none.
            high: `env.action_high`, likewise.

        Raises:
            ConfigError: If it is neither a `Box` with finite bounds nor `Discrete`.
        """
        if isinstance(space, spaces.Discrete):
            return cls(spaces.Discrete(int(space.n)), space)
        if not isinstance(space, spaces.Box):
            raise ConfigError(
                f"the environment's action space is {space}; allowed are Box (any shape) and Discrete. Wrap the "
                "environment so that its actions are one of these (gymnasium.wrappers.TransformAction), and register "
                "the wrapped one."
            )
        bounds = [
            _bound(given, own, f"env.action_{name}")
            for name, given, own in (("low", low, space.low), ("high", high, space.high))
        ]
        if not (
            np.isfinite(bounds).all() and (bounds[0] < bounds[1]).any() and (bounds[0] <= bounds[1]).all()
        ):
            raise ConfigError(
                f"the environment's actions have the bounds {bounds[0].tolist()} to {bounds[1].tolist()}; planners "
                "need finite ones, low below high: give env.action_low=[...] and env.action_high=[...], one number for "
                "all axes or one each."
            )
        return cls(spaces.Box(bounds[0], bounds[1], dtype=np.float32), space)

    @property
    def is_discrete(self) -> bool:
        """Whether an action is the index of a choice."""
        return isinstance(self.space, spaces.Discrete)

    def checked(self, action: Any) -> np.ndarray | int:
        """Return an action in the form here, clipped to its bounds: float32 `[A]`, or the index of a choice.

        A choice may be given as a vector `[n]` too, as models have it: the entry that is largest is taken.

        Raises:
            EnvironmentFailure: If it has another shape, is not finite, or is no choice.
        """
        values = np.asarray(action)
        if isinstance(self.space, spaces.Discrete):
            if values.shape == (self.space.n,) and np.isfinite(values).all():
                return int(values.argmax())
            if (
                values.size != 1
                or values.dtype.kind not in "iu"
                or not 0 <= int(values.item()) < self.space.n
            ):
                raise EnvironmentFailure(
                    f"the action is {action!r}; allowed are the choices 0 to {self.space.n - 1}."
                )
            return int(values.item())
        if (
            values.size != self.space.shape[0]
            or values.dtype.kind not in "fiub"
            or not np.isfinite(values).all()
        ):
            raise EnvironmentFailure(
                f"the action is {np.array2string(values, threshold=20)}; allowed are {self.space.shape[0]} finite "
                "numbers."
            )
        return np.clip(values.reshape(-1).astype(np.float32), self.space.low, self.space.high)

    def to_env(self, action: np.ndarray | int) -> Any:
        """Return a checked action as the environment takes it."""
        if isinstance(self.inner, spaces.Discrete):
            return self.inner.dtype.type(self.inner.start + action)
        return np.asarray(action).reshape(self.inner.shape).astype(self.inner.dtype)


def _bound(given: Sequence[float], own: np.ndarray, key: str) -> np.ndarray:
    if given and len(given) not in (1, own.size):
        raise ConfigError(
            f"{key} has {len(given)} numbers, and an action {own.size}; give one for all axes, or one for each."
        )
    values = np.broadcast_to(np.asarray(given, np.float64), own.size) if given else own.reshape(-1)
    # Some environments state "no bound" as the largest number of their type.
    return np.where(np.abs(values) > 1e30, np.copysign(np.inf, values), values).astype(np.float32)


def entries_of(space: spaces.Space[Any]) -> dict[str, spaces.Space[Any]]:
    """Return the entries of an observation space by key; nested keys are joined by dots."""
    if not isinstance(space, spaces.Dict):
        return {WHOLE: space}
    found: dict[str, spaces.Space[Any]] = {}
    for key, inner in space.items():
        nested = entries_of(inner) if isinstance(inner, spaces.Dict) else {"": inner}
        found |= {f"{key}.{name}".rstrip("."): entry for name, entry in nested.items()}
    return found


def entry_at(observation: Any, key: str) -> Any:
    """Return the entry of an observation at a key of :func:`entries_of`.

    Raises:
        EnvironmentFailure: If it is missing.
    """
    if not isinstance(observation, Mapping):
        return observation
    if key in observation:
        return observation[key]
    first, _, rest = key.partition(".")
    if rest and first in observation:
        return entry_at(observation[first], rest)
    raise EnvironmentFailure(
        f"the observation has no '{key}', which its space declares; it has: {', '.join(map(str, observation))}."
    )


def described(space: spaces.Space[Any]) -> str:
    """Return the keys of an observation space with their shapes and types, for errors."""
    return ", ".join(
        f"{key} {getattr(entry, 'dtype', '')} {list(entry.shape or ())}"
        for key, entry in entries_of(space).items()
    )


def is_image(space: spaces.Space[Any]) -> bool:
    """Return whether a space is one of images: `[H, W, 3]`, `[3, H, W]`, or of one channel, bytes or real numbers."""
    if not isinstance(space, spaces.Box) or space.dtype.kind not in "uf":
        return False
    sides = [size for size in space.shape if size >= _LEAST_SIDE]
    if space.dtype == np.uint8 and len(space.shape) == len(sides) == 2:
        return True
    return len(space.shape) == 3 and len(sides) == 2 and {space.shape[0], space.shape[-1]} & {1, 3} != set()


def find_image(space: spaces.Space[Any]) -> str | None:
    """Return the key of an environment's image; None if no entry is an image.

    Raises:
        ConfigError: If there are several, none of them with a usual name.
    """
    found = [key for key, entry in entries_of(space).items() if is_image(entry)]
    usual = [key for key in IMAGE_KEYS if key in found]
    if len(found) > 1 and not usual:
        raise ConfigError(
            f"the environment's observations have several images ({', '.join(found)}); give env.image=KEY, and "
            "env.cameras=[KEY,...] for further ones."
        )
    return next(iter(usual or found), None)


def find_states(space: spaces.Space[Any], given: str) -> tuple[str, ...]:
    """Return the keys of an environment's state, () if it has none.

    Args:
        space: Of its observations.
        given: `env.state`.

    Raises:
        ConfigError: If a given key is not there, or several are vectors and none has a usual name.
    """
    entries = entries_of(space)
    vectors = [key for key, entry in entries.items() if _is_vector(entry)]
    if given == "none":
        return ()
    if given != "auto":
        for key in given.split("+"):
            if key not in vectors:
                raise ConfigError(
                    f"env.state names '{key}', which is no vector of the environment's observations "
                    f"({described(space)}); {nearest(key, [*vectors, 'none'])}"
                )
        return tuple(given.split("+"))
    usual = [key for key in STATE_KEYS if key in vectors]
    if len(vectors) > 1 and not usual:
        raise ConfigError(
            f"the environment's observations have several vectors ({', '.join(vectors)}); give env.state=KEY, several "
            "as KEY+KEY, or env.state=none."
        )
    return tuple((usual or vectors)[:1])


def _is_vector(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) and len(space.shape) <= 1 and space.dtype.kind in "fiu"


def camera_name(key: str) -> str:
    """Return a camera's name in a dataset from its key in the observations: `main` for `image`."""
    return key.removeprefix("image_") if key != "image" else "main"


def white_of(space: spaces.Space[Any] | None) -> float | None:
    """Return which number is white in images of a space, 1 or 255; None where it does not say so."""
    if not isinstance(space, spaces.Box) or space.dtype.kind != "f" or not np.isfinite(space.high).all():
        return None
    return 1.0 if space.high.max() <= 1.0 else 255.0


def to_image(value: Any, name: str, size: int, *, white: float | None = None) -> np.ndarray:
    """Return an image of an environment as uint8 `[H, W, 3]`, of `size` pixels on both sides unless that is 0.

    One channel becomes three.

    Args:
        value: The image.
        name: What it is called in errors.
        size: Pixels on each side.
        white: Which of real numbers is white; None takes 1 for an image without larger ones, else 255.

    Raises:
        EnvironmentFailure: If it is no image.
    """
    image = np.asarray(value)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] not in (1, 3) and image.shape[0] in (1, 3):
        image = np.moveaxis(image, 0, -1)
    if image.ndim != 3 or image.shape[-1] not in (1, 3) or min(image.shape[:2]) < 1:
        raise EnvironmentFailure(
            f"{name} is {image.dtype} of shape {list(np.shape(value))}; allowed are images [H, W, 3], [3, H, W] or of "
            "one channel."
        )
    if image.dtype.kind == "f":
        if not np.isfinite(image).all():
            raise EnvironmentFailure(f"{name} has numbers that are not finite.")
        white = white or (1.0 if image.max() <= 1.0 else 255.0)
        if image.min() < -_OVERSHOOT * white or image.max() > (1 + _OVERSHOOT) * white:
            raise EnvironmentFailure(
                f"{name} has real numbers from {image.min():g} to {image.max():g}; allowed are 0 to {white:g}."
            )
        image = np.clip(np.rint(image * (255.0 / white)), 0, 255).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise EnvironmentFailure(f"{name} is {image.dtype}; allowed are uint8, and real numbers from 0 to 1.")
    image = np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
    if size and image.shape[:2] != (size, size):
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None]
        image = resize_frames(pixels, size)[0].permute(1, 2, 0).numpy()
    return np.array(image)  # a copy: some environments draw into the same array again
