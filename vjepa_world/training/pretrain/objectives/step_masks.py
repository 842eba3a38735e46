"""The masks of a step, for the clips of this process.

Legend: B clips, R targets per clip, Nc context tokens, Np target tokens, N tokens of the grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vjepa_world.ops.masking.blocks import sample_masks, sample_pair_masks
from vjepa_world.ops.masking.image import sample_image_masks
from vjepa_world.ops.masking.random import sample_random_masks
from vjepa_world.ops.masking.spec import MaskSpec
from vjepa_world.training.engine.step_draw import StepDraw, even_slices
from vjepa_world.training.pretrain.objectives.config import JEPAConfig, MaskedObjectiveConfig

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class MaskFamily:
    """One context for each clip, and one or more sets of hidden tokens that are predicted from it.

    Attributes:
        name: Name in the log.
        index: Index of the mask token that replaces the hidden tokens.
        grid: Token grid (t, h, w) of the indices.
        context: Indices of the visible tokens, int64 `[B, Nc]`.
        hidden: Indices of the tokens to predict, int64 `[B, R, Np]`.
        offset: Subtract it from `hidden` for the indices among the encoded target tokens: the number of tokens that
            come before them and are not encoded with them.
    """

    name: str
    index: int
    grid: Grid
    context: Tensor
    hidden: Tensor
    offset: int = 0

    def of(self, rows: slice) -> MaskFamily:
        """Return the masks of some of the clips."""
        return replace(self, context=self.context[rows], hidden=self.hidden[rows])

    def to(self, device: torch.device) -> MaskFamily:
        """Return the masks on a device."""
        return replace(self, context=self.context.to(device), hidden=self.hidden.to(device))

    def flat_hidden(self) -> Tensor:
        """Return the hidden indices `[B, R, Np]` as `[B*R, Np]`; see :meth:`repeat`."""
        return self.hidden.flatten(0, 1)

    def repeat(self, rows: Tensor) -> Tensor:
        """Return each row of `[B, ...]` R times, `[B*R, ...]`, in the order of :meth:`flat_hidden`."""
        count = self.hidden.shape[1]
        return rows if count == 1 else rows.repeat_interleave(count, dim=0)


@dataclass(frozen=True)
class MaskGroup:
    """Some of this process's clips, and the masks that were drawn for them together."""

    rows: slice
    families: list[MaskFamily]

    def split(self, count: int, device: torch.device) -> Iterator[MaskGroup]:
        """Yield the group in `count` micro-batches of even size, their indices on a device."""
        for part in even_slices(self.rows.stop - self.rows.start, count):
            rows = slice(self.rows.start + part.start, self.rows.start + part.stop)
            yield MaskGroup(rows, [family.of(part).to(device) for family in self.families])


def mask_specs(config: MaskedObjectiveConfig, image: bool) -> tuple[MaskSpec, ...]:
    """Return the families of block masks of clips, or of single images."""
    return config.image_masks if image and config.image_masks else config.masks


def draw_groups(
    config: MaskedObjectiveConfig, grid: Grid, clips: int, image: bool, draw: StepDraw
) -> list[MaskGroup]:
    """Draw a step's masks for all processes and return those of this one, by groups of clips.

    A family's contexts are cut to the shortest of the clips that are masked together, so the larger the group the less
    is visible. Groups of `config.mask_group` clips keep that from depending on the batch and on the processes.

    Args:
        config: Which masks.
        grid: Token grid (t, h, w).
        clips: B.
        image: Whether they are single images.
        draw: The step's random numbers.
    """
    return _grouped(
        clips, config, draw, lambda count: _draw_families(config, grid, count, image, draw.generator)
    )


def draw_pair_groups(config: JEPAConfig, grid: Grid, clips: int, draw: StepDraw) -> list[MaskGroup]:
    """Draw which tokens of the second of two frames are visible; `grid` is that of one frame, (1, h, w)."""
    tokens = grid[1] * grid[2]

    def families(count: int) -> list[MaskFamily]:
        context, hidden = sample_pair_masks(tokens, count, config.pair_visible, draw.generator)
        index, hidden = len(config.masks), hidden.unsqueeze(1) + tokens
        both = (2, *grid[1:])
        return [
            MaskFamily(name="pair", index=index, grid=both, context=context, hidden=hidden, offset=tokens)
        ]

    return _grouped(clips, config, draw, families)


def _grouped(
    clips: int,
    config: MaskedObjectiveConfig,
    draw: StepDraw,
    families: Callable[[int], list[MaskFamily]],
) -> list[MaskGroup]:
    total, own = draw.total(clips), draw.rank * clips
    # Terms of the whole batch need all of it in one graph.
    size = total if config.compares_clips else config.mask_group
    groups = []
    for drawn in even_slices(total, math.ceil(total / size)):
        first, last = max(drawn.start, own), min(drawn.stop, own + clips)
        of_all = families(drawn.stop - drawn.start)
        if first < last:
            rows = slice(first - drawn.start, last - drawn.start)
            groups.append(MaskGroup(slice(first - own, last - own), [family.of(rows) for family in of_all]))
    return groups


def _draw_families(
    config: MaskedObjectiveConfig, grid: Grid, clips: int, image: bool, generator: torch.Generator
) -> list[MaskFamily]:
    if config.masking == "image":
        context, hidden = sample_image_masks(grid, clips, generator)
        return [MaskFamily(name="image", index=0, grid=grid, context=context, hidden=hidden)]
    if config.masking == "tube":
        context, hidden = sample_random_masks(grid, clips, config.mask_ratio, generator)
        return [MaskFamily(name="tube", index=0, grid=grid, context=context, hidden=hidden.unsqueeze(1))]
    drawn = sample_masks(grid, clips, mask_specs(config, image), generator)
    return [
        MaskFamily(name=f"mask_{index}", index=index, grid=grid, context=context, hidden=hidden.unsqueeze(1))
        for index, (context, hidden) in enumerate(drawn)
    ]
