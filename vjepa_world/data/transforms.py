"""Crops, sizes and the numbers that a model sees.

Shapes: B batch, T frames, C = 3 channels (RGB), H W pixels, S pixels of a square image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

# Mean and standard deviation of ImageNet's RGB values in [0, 1], the convention of the released encoders.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class Crop:
    """A box of pixels: rows [top, top + height), columns [left, left + width); mirrored left to right if `flip`."""

    top: int
    left: int
    height: int
    width: int
    flip: bool = False


def normalize(video: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Turn uint8 [..., C, H, W] RGB into `dtype` with ImageNet's mean 0 and standard deviation 1 per channel."""
    scale = torch.tensor([1.0 / (255.0 * std) for std in IMAGENET_STD], device=video.device)
    shift = torch.tensor(
        [-m / s for m, s in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)], device=video.device
    )
    # float32 first: half precision would round the 256 levels before they are centred.
    centred = video.float().mul_(scale.view(-1, 1, 1)).add_(shift.view(-1, 1, 1))
    return centred.to(dtype)


def center_crop(height: int, width: int) -> Crop:
    """Return the largest centred square."""
    side = min(height, width)
    return Crop((height - side) // 2, (width - side) // 2, side, side)


def sample_crop(
    height: int,
    width: int,
    rng: np.random.Generator,
    *,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    flip: float,
) -> Crop:
    """Draw a box of `scale` of the area and `ratio` width/height (log-uniform), flipped with probability `flip`.

    A box that does not fit is drawn anew; after ten, the largest centred box with an allowed ratio is taken.
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


def resize_uint8(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize uint8 [T,C,H,W] with an antialiased bilinear filter; frames of that size come back as they are."""
    if frames.shape[-2:] == (height, width):
        return frames
    return functional.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)


def crop_resize(frames: Tensor, crop: Crop, size: int) -> Tensor:
    """Cut `crop` out of uint8 [T,C,H,W] and bring it to [T,C,S,S], contiguous; resampled only where needed."""
    cut = frames[..., crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]
    resized = resize_uint8(cut, size, size)
    return (resized.flip(-1) if crop.flip else resized).contiguous()
