"""What a step trains on: clips, their frames as images, or pairs of their frames; and a random change of colours.

Legend: B clips of this process, V views, T frames, C channels, H W pixels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.ops.pixels import normalize_video
from vjepa_world.training.engine.step_draw import StepDraw


def stills(clips: Tensor, tubelet_size: int) -> Tensor:
    """Return one frame of each tubelet as an image: `[B, T, C, H, W]` -> `[B*T/tubelet, 1, C, H, W]`."""
    return clips[:, ::tubelet_size].flatten(0, 1).unsqueeze(1)


def draw_pairs(clips: Tensor, draw: StepDraw) -> Tensor:
    """Draw two different frames of each clip, in either order: `[B, T, C, H, W]` -> `[B, 2, C, H, W]`.

    Raises:
        ConfigError: If a clip has one frame.
    """
    count, frames = clips.shape[:2]
    if frames < 2:
        raise ConfigError(
            "pairs need clips of at least 2 frames; set model.num_frames or objective.pair_fraction=0."
        )
    drawn = draw.own(torch.rand(draw.total(count), frames, generator=draw.generator)).argsort(dim=1)[:, :2]
    return clips[torch.arange(count).unsqueeze(1), drawn]


def colored(video: Tensor, strength: float, draw: StepDraw) -> Tensor:
    """Return uint8 video `[B, (V,) T, C, H, W]` normalised, with a random gain and offset of each view's colours.

    Args:
        video: Decoded clips.
        strength: Largest change, in normalised units; 0 changes nothing.
        draw: The step's random numbers.
    """
    pixels = normalize_video(video)
    if not strength:
        return pixels
    views = video.shape[1:-4]
    drawn = 2 * torch.rand(draw.total(len(video)), *views, 2, 1, 3, 1, 1, generator=draw.generator) - 1
    gain, offset = draw.own(drawn).to(pixels).unbind(dim=-5)
    return pixels * (1 + strength * gain) + strength * offset
