"""The masks of a step, for the clips of this process.

Legend: B clips, R targets a clip, Nc context tokens, Np target tokens, N tokens of the grid.
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
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.objectives.draw import StepDraw, even_slices

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Family:
    """One context for each clip, and one or more sets of tokens to predict from it.

    Attributes:
        name: What its loss is called in the log.
        index: Which mask token stands in for what is hidden.
        grid: The token grid that the indices count in.
        context: Indices of the visible tokens, `[B, Nc]`.
        hidden: Indices of those to predict, `[B, R, Np]`.
        offset: What a target's own index is smaller by: tokens that come before it and are not encoded with it.
    """

    name: str
    index: int
    grid: Grid
    context: Tensor
    hidden: Tensor
    offset: int = 0

    def of(self, rows: slice) -> Family:
        """Return the family of a few of the clips."""
        return replace(self, context=self.context[rows], hidden=self.hidden[rows])

    def to(self, device: torch.device) -> Family:
        """Return the family on a device."""
        return replace(self, context=self.context.to(device), hidden=self.hidden.to(device))

    def flat_hidden(self) -> Tensor:
        """Return `[B*R, Np]`, beside which :meth:`repeat` lays the rest."""
        return self.hidden.flatten(0, 1)

    def repeat(self, rows: Tensor) -> Tensor:
        """Return each of `[B, ...]` R times, `[B*R, ...]`."""
        count = self.hidden.shape[1]
        return rows if count == 1 else rows.repeat_interleave(count, dim=0)


@dataclass(frozen=True)
class Group:
    """Some of this process's clips, and the families that were drawn for them together."""

    rows: slice
    families: list[Family]

    def split(self, pieces: int, device: torch.device) -> Iterator[Group]:
        """Yield the group in even pieces, their indices on a device."""
        for part in even_slices(self.rows.stop - self.rows.start, pieces):
            rows = slice(self.rows.start + part.start, self.rows.start + part.stop)
            yield Group(rows, [family.of(part).to(device) for family in self.families])


def mask_specs(objective: PretrainObjective, image: bool) -> tuple[MaskSpec, ...]:
    """Return the block masks of clips, or of single images."""
    return objective.image_masks if image and objective.image_masks else objective.masks


def draw_groups(
    objective: PretrainObjective, grid: Grid, clips: int, image: bool, draw: StepDraw
) -> list[Group]:
    """Draw a step's masks for all processes and return this one's, by groups of clips.

    A family's contexts are cut to the shortest of the clips that are masked together, so the more there are the less is
    seen. Groups of `objective.mask_group` clips keep that from depending on the batch and on the processes.

    Args:
        objective: What kind of masks.
        grid: Token grid (t, h, w).
        clips: B.
        image: Whether they are single images.
        draw: The step's random numbers.
    """
    return _grouped(
        clips, objective, draw, lambda count: _draw_families(objective, grid, count, image, draw.generator)
    )


def draw_pair_groups(objective: PretrainObjective, grid: Grid, clips: int, draw: StepDraw) -> list[Group]:
    """Draw what is seen of the second of two frames; `grid` is that of one frame, (1, h, w)."""
    tokens = grid[1] * grid[2]

    def families(count: int) -> list[Family]:
        context, hidden = sample_pair_masks(tokens, count, objective.pair_visible, draw.generator)
        index, hidden = len(objective.masks), hidden.unsqueeze(1) + tokens
        both = (2, *grid[1:])
        return [Family(name="pair", index=index, grid=both, context=context, hidden=hidden, offset=tokens)]

    return _grouped(clips, objective, draw, families)


def _grouped(
    clips: int, objective: PretrainObjective, draw: StepDraw, families: Callable[[int], list[Family]]
) -> list[Group]:
    total, own = draw.total(clips), draw.rank * clips
    # Terms of the whole batch need all of it in one graph.
    size = total if objective.compares_clips else objective.mask_group
    groups = []
    for drawn in even_slices(total, math.ceil(total / size)):
        first, last = max(drawn.start, own), min(drawn.stop, own + clips)
        some = families(drawn.stop - drawn.start)
        if first < last:
            inside = slice(first - drawn.start, last - drawn.start)
            groups.append(Group(slice(first - own, last - own), [family.of(inside) for family in some]))
    return groups


def _draw_families(
    objective: PretrainObjective, grid: Grid, clips: int, image: bool, generator: torch.Generator
) -> list[Family]:
    if objective.masking == "image":
        context, hidden = sample_image_masks(grid, clips, generator)
        return [Family(name="image", index=0, grid=grid, context=context, hidden=hidden)]
    if objective.masking == "tube":
        context, hidden = sample_random_masks(grid, clips, objective.mask_ratio, generator)
        return [Family(name="tube", index=0, grid=grid, context=context, hidden=hidden.unsqueeze(1))]
    drawn = sample_masks(grid, clips, mask_specs(objective, image), generator)
    return [
        Family(name=f"mask_{index}", index=index, grid=grid, context=context, hidden=hidden.unsqueeze(1))
        for index, (context, hidden) in enumerate(drawn)
    ]
