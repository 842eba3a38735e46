"""Random crops, and resizing them to the model's image size.

Shapes: T frames, C = 3 channels (RGB), H W pixels, S pixels of a square image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.config import VideoDataConfig
from vjepa_world.ops.pixels import resize_frames

_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class Crop:
    """A box of pixels: rows [top, top + height), columns [left, left + width); mirrored left to right if `flip`."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def sample_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
) -> Crop:
    """Draw a random box, as torchvision's `RandomResizedCrop` does.

    A box that does not fit is drawn again; after ten attempts the largest centred box of an allowed ratio is taken.

    Args:
        height: Of the frame [pixels].
        width: Of the frame [pixels].
        rng: The source of randomness.
        scale: Range of the box's share of the frame's area.
        ratio: Range of its aspect ratio, width / height, drawn log-uniformly.
        flip: Probability of a horizontal flip.
    """
    mirrored = bool(rng.random() < flip)
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
            return Crop(top, left, h, w, mirrored)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    h, w = min(height, round(width / aspect)), min(width, round(height * aspect))
    return Crop((height - h) // 2, (width - w) // 2, h, w, mirrored)


def crop_resize(frames: Tensor, crop: Crop, size: int) -> Tensor:
    """Crop frames uint8 `[T, C, H, W]` and resize them to `[T, C, S, S]`, contiguous; resampled only if needed."""
    cut = frames[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    resized = resize_frames(cut, size)
    return (resized.flip(-1) if crop.flip else resized).contiguous()


def crop_views(
    frames: Tensor, views: int, size: int, config: VideoDataConfig, rng: np.random.Generator
) -> Tensor:
    """Cut `views` random boxes out of uint8 `[T, C, H, W]`, each the same in all frames: `[V, T, C, S, S]`."""
    height, width = frames.shape[-2:]
    crops = [
        sample_crop(height, width, rng, scale=config.crop_scale, ratio=config.crop_ratio, flip=config.flip)
        for _ in range(views)
    ]
    return torch.stack([crop_resize(frames, crop, size) for crop in crops])
