"""A step's random numbers, drawn for all processes alike, and which rows of them are this process's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

#: One forward pass of a step; its figures, `loss` among them, add up with those of the other parts.
Part = Callable[[], dict[str, Tensor]]


@dataclass(frozen=True)
class StepDraw:
    """The random numbers of one step.

    Attributes:
        generator: CPU generator, in the same state in every process.
        progress: Share of the run that is done, in [0, 1].
        rank: Which process this is.
        world_size: How many there are.
        slices: Into how many slices clips that are masked together are cut, one graph at a time.
    """

    generator: torch.Generator
    progress: float = 0.0
    rank: int = 0
    world_size: int = 1
    slices: int = 1

    def total(self, rows: int) -> int:
        """Return the rows of all processes, where this one has `rows`."""
        return rows * self.world_size

    def own(self, drawn: Tensor) -> Tensor:
        """Return this process's rows of what was drawn for all."""
        return drawn.chunk(self.world_size)[self.rank]


def even_slices(rows: int, pieces: int) -> list[slice]:
    """Return slices of `rows` rows, as even as they go; no more than there are rows."""
    pieces = max(min(pieces, rows), 1)
    edges = [round(i * rows / pieces) for i in range(pieces + 1)]
    return [slice(a, b) for a, b in zip(edges, edges[1:], strict=False) if b > a]
