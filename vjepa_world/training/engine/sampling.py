"""Which entries make a step's batch, and its randomness: functions of the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import Sampler

from vjepa_world.errors import ConfigError


class StepBatches(Sampler[list[int]]):
    """Gives step s the entries s*B .. s*B + B - 1, so that a resumed run sees what it would have seen."""

    def __init__(self, start_step: int, steps: int, batch_size: int) -> None:
        self.start_step, self.steps, self.batch_size = start_step, steps, batch_size

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start_step, self.steps):
            yield list(range(step * self.batch_size, (step + 1) * self.batch_size))

    def __len__(self) -> int:
        return self.steps - self.start_step


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the CPU generator of one step."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (1 << 63))


def draw_pairs(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Draw two different frames of each clip, in either order.

    Args:
        clips: `[B, T, C, H, W]`.
        generator: CPU generator.

    Returns:
        `[B, 2, C, H, W]`.

    Raises:
        ConfigError: If a clip has one frame.
    """
    count, frames = clips.shape[:2]
    if frames < 2:
        raise ConfigError(
            "pairs need clips of at least 2 frames; set model.num_frames or objective.pair_fraction=0."
        )
    drawn = torch.rand(count, frames, generator=generator).argsort(dim=1)[:, :2]
    return clips[torch.arange(count).unsqueeze(1), drawn]
