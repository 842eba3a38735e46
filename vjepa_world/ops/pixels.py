"""Pixels as an encoder reads them: ImageNet normalisation, resizing, and the pixels of each token.

Legend: B clips, T frames, C channels, H W pixels; N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.ops.tensor_checks import check_frames

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["nearest", "bilinear", "bicubic"]


def normalize_video(
    video: Tensor, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
) -> Tensor:
    """Return `video [..., C, H, W]` uint8 as float32 of the same shape, less `mean` and over `std` by colour (0 to 1).

    Raises:
        ConfigError: If it is something else, such as floats in [0, 1], which would come out almost black.
    """
    axes = [*(f"D{axis}" for axis in range(1, getattr(video, "ndim", 3) - 2)), "C", "H", "W"]
    check_frames(video, f"[{', '.join(axes)}]", name="video", empty=True)
    mean_255, std_255 = (
        torch.tensor(values, dtype=torch.float32, device=video.device).view(3, 1, 1) * 255
        for values in (mean, std)
    )
    return (video.float() - mean_255) * (1 / std_255)


def resize_frames(
    frames: Tensor, size: int | tuple[int, int], interpolation: Interpolation = "bilinear"
) -> Tensor:
    """Resize uint8 `frames [M, C, H, W]` to `size`, antialiased but for nearest; a no-op if they have that size.

    Args:
        frames: The frames.
        size: Height and width, or both as one number [pixels].
        interpolation: nearest, bilinear or bicubic.
    """
    size = (size, size) if isinstance(size, int) else size
    if frames.shape[-2:] == size:
        return frames
    if interpolation == "nearest":
        return F.interpolate(frames, size=size, mode="nearest-exact")
    # Only the CPU has antialiased kernels for bytes.
    pixels = frames if frames.device.type == "cpu" else frames.float()
    resized = F.interpolate(pixels, size=size, mode=interpolation, antialias=True, align_corners=False)
    return resized if resized.dtype == frames.dtype else resized.round().clamp(0, 255).to(frames.dtype)


def patchify(video: Tensor, patch_size: int, tubelet_size: int) -> Tensor:
    """Return the pixels of each token.

    Args:
        video: `[B, T, C, H, W]`. A single frame (T = 1) is repeated over a tubelet.
        patch_size: Pixels p along a patch's side; divides H and W.
        tubelet_size: Frames s of a tubelet; divides T, unless T = 1.

    Returns:
        `[B, N, C*s*p*p]`, tokens in the encoder's order (time, row, column), pixels in the order of a Conv3d's kernel
        (channel, frame, row, column).
    """
    if video.shape[1] == 1:
        video = video.expand(-1, tubelet_size, -1, -1, -1)
    p, s = patch_size, tubelet_size
    split = video.unflatten(4, (-1, p)).unflatten(3, (-1, p)).unflatten(1, (-1, s))  # B t s C h p w p
    return split.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
