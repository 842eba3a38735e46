"""How clips are cut from a video for a frozen encoder; stored with a probe, so that it gets the same input later.

Shapes: T frames, C = 3 channels (RGB), H W pixels, S pixels of a square image.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.ops.pixels import resize_frames


@dataclass(frozen=True, kw_only=True)
class ClipInput:
    """How clips are cut from a video and resized.

    Attributes:
        frames: T; 1 is a single image.
        fps: Frame rate of a clip, whatever the file's rate [1/s].
        crop: Side of the central square that is cut out, as a share of the shorter side; 0 resizes the entire frame to
            a square.
        image_size: S [pixels].
    """

    frames: int
    fps: float
    crop: float
    image_size: int

    def __post_init__(self) -> None:
        rules = {
            "frames": (self.frames >= 1, "at least 1"),
            "fps": (self.fps > 0, "more than 0"),
            "crop": (0 <= self.crop <= 1, "from 0 to 1"),
            "image_size": (self.image_size >= 1, "at least 1"),
        }
        for name, (good, allowed) in rules.items():
            if not good:
                raise ConfigError(f"{name} of a clip is {getattr(self, name)}; allowed is {allowed}.")

    @property
    def span_s(self) -> float:
        """Time from a clip's first frame to its last [s]."""
        return (self.frames - 1) / self.fps

    def pixels(self, frames: Tensor) -> Tensor:
        """Crop and resize uint8 `[T, C, H, W]` to `[T, C, S, S]`."""
        if self.crop:
            side = max(round(self.crop * min(frames.shape[-2:])), 1)
            top, left = ((size - side) // 2 for size in frames.shape[-2:])
            frames = frames[..., top : top + side, left : left + side]
        return resize_frames(frames, self.image_size).contiguous()
