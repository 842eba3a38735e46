"""What a pair of start and goal looks like, in few bytes: it shows whether an environment still reproduces the pair.

Shapes: H W pixels, S state size.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from vjepa_world.evaluation.statistics import EvaluationError

#: Blocks along each side of a thumbnail.
THUMBNAIL = 16

#: Largest differences that another graphics driver may make: of a block's mean brightness (of 255), and of a state.
BRIGHTNESS_TOLERANCE, STATE_TOLERANCE = 4, 1e-3


@dataclass(frozen=True)
class Appearance:
    """The first observation and the goal image of a pair.

    Attributes:
        digest: Hash of both images and the state: equal only if all are the same bit for bit.
        start: Mean brightness of 16 x 16 blocks of the first image, base64.
        goal: The same of the goal image.
        state: The first state, S.
    """

    digest: str
    start: str
    goal: str
    state: tuple[float, ...]

    @classmethod
    def of(cls, observation: Mapping[str, np.ndarray], goal_image: np.ndarray) -> Appearance:
        """Return the appearance of what an environment's reset returned."""
        state = np.asarray(observation.get("state", ()), dtype=np.float32)
        digest = hashlib.blake2b(digest_size=8)
        for values in (np.asarray(observation["image"]), np.asarray(goal_image), state):
            digest.update(f"{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        return cls(
            digest=digest.hexdigest(),
            start=_thumbnail(np.asarray(observation["image"])),
            goal=_thumbnail(np.asarray(goal_image)),
            state=tuple(float(f"{number:.6g}") for number in state.tolist()),
        )

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Appearance:
        """Return the appearance that a manifest stores.

        Raises:
            EvaluationError: If a part is missing or malformed.
        """
        try:
            found = cls(
                str(values["digest"]),
                str(values["start"]),
                str(values["goal"]),
                tuple(float(number) for number in values["state"]),
            )
            _brightness(found.start), _brightness(found.goal)
            if not np.isfinite(found.state).all():
                raise ValueError("its state has numbers that are not finite")
        except (KeyError, TypeError, ValueError) as error:
            raise EvaluationError(
                f"a pair's appearance is malformed ({error}); write the manifest again with evaluate."
            ) from error
        return found

    def differences(self, other: Appearance) -> list[str]:
        """Return what differs by more than another graphics driver explains, in words; empty if nothing does."""
        if self.digest == other.digest:
            return []
        found = []
        for name in ("start", "goal"):
            off = np.abs(_brightness(getattr(self, name)) - _brightness(getattr(other, name))).max()
            if off > BRIGHTNESS_TOLERANCE:
                found.append(f"the {name} image differs (a block of it by {off:.0f} of 255)")
        if len(self.state) != len(other.state):
            found.append(f"the state has {len(other.state)} numbers, not {len(self.state)}")
        elif not np.allclose(self.state, other.state, rtol=STATE_TOLERANCE, atol=STATE_TOLERANCE):
            worst = np.abs(np.subtract(self.state, other.state)).max()
            found.append(f"the start state differs (a number by {worst:.3g})")
        return found


def _thumbnail(image: np.ndarray) -> str:
    """Return the mean brightness of blocks of an image `[H, W, 3]`, base64 of 256 bytes."""
    grey = image.astype(np.float64).mean(axis=2)
    for axis in (0, 1):
        edges = np.linspace(0, grey.shape[axis], THUMBNAIL + 1).astype(int)
        starts = np.minimum(edges[:-1], grey.shape[axis] - 1)
        sizes = np.maximum(np.diff(edges), 1)
        sums = np.add.reduceat(grey, starts, axis=axis)
        grey = sums / (sizes[:, None] if axis == 0 else sizes[None, :])
    return base64.b64encode(np.clip(grey.round(), 0, 255).astype(np.uint8).tobytes()).decode()


def _brightness(thumbnail: str) -> np.ndarray:
    values = np.frombuffer(base64.b64decode(thumbnail, validate=True), dtype=np.uint8)
    if len(values) != THUMBNAIL**2:
        raise ValueError(f"a thumbnail has {len(values)} bytes instead of {THUMBNAIL**2}")
    return values.astype(np.int64)
