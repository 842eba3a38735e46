"""The random numbers of a training step: functions of the seed and the step, the same in every process."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def step_generator(seed: int, step: int) -> torch.Generator:
    """Return the CPU generator of one step, so that a resumed run draws what it would have drawn."""
    return torch.Generator().manual_seed((seed * 1_000_003 + step) % (1 << 63))


@dataclass(frozen=True)
class StepDraw:
    """What decides the random numbers of one step. They are drawn for the global batch; a process takes its rows.

    Attributes:
        generator: CPU generator, in the same state in every process.
        progress: Share of the run that is done, in [0, 1].
        rank: Index of this process.
        world_size: Number of processes.
        slices: Micro-batches that clips which are masked together are split into.
        pairs: Whether the step's video `[B, 2, C, H, W]` holds pairs of frames, of which the first predicts the second.
    """

    generator: torch.Generator
    progress: float = 0.0
    rank: int = 0
    world_size: int = 1
    slices: int = 1
    pairs: bool = False

    def total(self, rows: int) -> int:
        """Return the number of rows of all processes, if this one has `rows`."""
        return rows * self.world_size

    def own(self, drawn: Tensor) -> Tensor:
        """Return this process's rows: `[world_size * B, ...]` to `[B, ...]`."""
        return drawn.chunk(self.world_size)[self.rank]


def even_slices(rows: int, count: int) -> list[slice]:
    """Return `count` slices of `rows` rows, of sizes as even as possible; at most one per row."""
    count = max(min(count, rows), 1)
    edges = [round(i * rows / count) for i in range(count + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
