"""How stored frames become the input of a frozen encoder: resizing, cropping and normalisation.

Shapes: M frames, C = 3 channels (RGB), H W pixels, S pixels along a side of the encoder's input.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.files.validation import short
from vjepa_world.ops.pixels import IMAGENET_MEAN, IMAGENET_STD, Interpolation, normalize_video, resize_frames

#: The largest side [pixels].
_LARGEST = 2**14


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """An encoder's preprocessing of frames; the default is that of our encoders.

    Attributes:
        size: S, side of the encoder's square input [pixels].
        resize: Pixels that the frame is resized to before its central square of S x S is cut out; 0 for S.
        keep_aspect: `resize` is the shorter side, and the aspect ratio is kept; otherwise it is both sides.
        interpolation: Of the resizing: nearest, bilinear or bicubic; the last two antialiased.
        mean: Subtracted from each colour, which goes from 0 to 1.
        std: Each colour is then divided by it.

    Raises:
        ConfigError: If a value is out of range.
    """

    size: int
    resize: int = 0
    keep_aspect: bool = False
    interpolation: Interpolation = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            object.__setattr__(self, name, _numbers(name, getattr(self, name)))  # JSON has no tuples
        for name in ("size", "resize"):
            value, least = getattr(self, name), 0 if name == "resize" else 1
            if type(value) is not int or not least <= value <= _LARGEST:
                raise ConfigError(
                    f"{name} of an encoder's preprocessing is {short(value)}; give pixels, from {least} to {_LARGEST}."
                )
        if self.resize and self.resize < self.size:
            raise ConfigError(
                f"an encoder's preprocessing resizes to {self.resize} pixels and cuts out {self.size}; resize to at "
                "least as many."
            )
        if type(self.keep_aspect) is not bool:
            raise ConfigError(
                f"keep_aspect of an encoder's preprocessing is {short(self.keep_aspect)}; give true or false."
            )
        if self.interpolation not in get_args(Interpolation):
            raise ConfigError(
                f"interpolation of an encoder's preprocessing is {short(self.interpolation)}; allowed: "
                f"{', '.join(get_args(Interpolation))}."
            )
        if min(self.std) <= 0:
            raise ConfigError(f"std of an encoder's preprocessing is {self.std}; give numbers above 0.")

    @property
    def crop(self) -> float:
        """Side of the part of the resized frame that remains, as a share of its shorter side."""
        return self.size / (self.resize or self.size)

    def fit(self, frames: Tensor) -> Tensor:
        """Resize and crop uint8 frames `[M, C, H, W]` to uint8 `[M, C, S, S]`; those of S x S pixels stay as they are.

        So it makes no difference whether frames were stored in the encoder's size or are fitted when they are read.
        """
        if frames.shape[-2:] == (self.size, self.size):
            return frames
        height, width = self._resized(*frames.shape[-2:])
        if self.interpolation == "bilinear" and height == width == self.size:
            return resize_frames(frames, self.size)
        top, left = (height - self.size) // 2, (width - self.size) // 2
        resized = resize_frames(frames, (height, width), self.interpolation)
        return resized[..., top : top + self.size, left : left + self.size].contiguous()

    def normalize(self, frames: Tensor) -> Tensor:
        """Return uint8 `[..., C, S, S]` as the encoder's float32 input of the same shape.

        Raises:
            ConfigError: If the frames are not uint8.
        """
        return normalize_video(frames, self.mean, self.std)

    def __call__(self, frames: Tensor) -> Tensor:
        """Return uint8 `[M, C, H, W]` as the encoder's float32 input `[M, C, S, S]`."""
        return self.normalize(self.fit(frames))

    def _resized(self, height: int, width: int) -> tuple[int, int]:
        side = self.resize or self.size
        if not self.keep_aspect:
            return side, side
        # As transformers does: the longer side is rounded down.
        return (side, int(side * width / height)) if height <= width else (int(side * height / width), side)


def _numbers(name: str, values: object) -> tuple[float, ...]:
    if (
        not isinstance(values, list | tuple)
        or len(values) != 3
        or not all(
            isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in values
        )
    ):
        raise ConfigError(
            f"{name} of an encoder's preprocessing is {short(values)}; give three numbers, one a colour."
        )
    return tuple(map(float, values))
