"""3D multi-block masks: which tokens the context encoder sees and which it must predict.

Legend: B clips, T H W the token grid, N = T*H*W tokens, Nc context tokens, Np predicted tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class MaskSpec:
    """One family of blocks: `num_blocks` rectangles of `scale` of the frame's area over all frames."""

    num_blocks: int
    scale: float
    aspect_low: float = 0.75
    aspect_high: float = 1.5


#: Short- and long-range masks of V-JEPA 2 (arXiv:2506.09985).
VJEPA2_MASKS = (MaskSpec(num_blocks=8, scale=0.15), MaskSpec(num_blocks=2, scale=0.7))


def _block_size(spec: MaskSpec, height: int, width: int, generator: torch.Generator) -> tuple[int, int]:
    span = math.log(spec.aspect_high) - math.log(spec.aspect_low)
    aspect = math.exp(math.log(spec.aspect_low) + span * torch.rand((), generator=generator).item())
    area = spec.scale * height * width
    block_height = min(max(round(math.sqrt(area * aspect)), 1), height)
    block_width = min(max(round(math.sqrt(area / aspect)), 1), width)
    return block_height, block_width


def _hidden_area(spec: MaskSpec, height: int, width: int, batch: int, generator: torch.Generator) -> Tensor:
    """Union of the blocks for each clip, `[B, H, W]` bool; never the whole frame."""
    block_height, block_width = _block_size(spec, height, width, generator)
    count = (batch, spec.num_blocks, 1)
    top = torch.randint(0, height - block_height + 1, count, generator=generator)
    left = torch.randint(0, width - block_width + 1, count, generator=generator)
    rows, columns = torch.arange(height), torch.arange(width)
    in_rows = (rows >= top) & (rows < top + block_height)
    in_columns = (columns >= left) & (columns < left + block_width)
    hidden = (in_rows.unsqueeze(-1) & in_columns.unsqueeze(-2)).any(dim=1)
    full = hidden.flatten(1).all(dim=1)
    hidden[full, 0, 0] = False
    return hidden


def sample_masks(
    grid: tuple[int, int, int], batch: int, specs: Sequence[MaskSpec], generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Draw one (context, target) pair of token indices per mask family.

    A block's size is drawn once a batch and its place once a clip; blocks extend over all frames. The
    target is the blocks' union, the context its complement, both cut at random to the smallest of the batch
    so that they stack.

    Args:
        grid: Token grid (T, H, W).
        batch: Number of clips.
        specs: Mask families.
        generator: CPU generator; all randomness comes from it.

    Returns:
        For each family, `context [B, Nc]` and `target [B, Np]`, sorted int64 indices into the N tokens.

    Source:
        V-JEPA 2 (arXiv:2506.09985, section 2).
    """
    frames, height, width = grid
    pairs = []
    for spec in specs:
        hidden = _hidden_area(spec, height, width, batch, generator).flatten(1)
        context = _random_rows(~hidden, generator)
        target = _random_rows(hidden, generator)
        offsets = torch.arange(frames).view(1, -1, 1) * (height * width)
        pairs.append(
            ((context.unsqueeze(1) + offsets).flatten(1), (target.unsqueeze(1) + offsets).flatten(1))
        )
    return pairs


def sample_pair_masks(
    tokens: int, batch: int, visible: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw which tokens of the second of two frames are seen; of the first, all are.

    Args:
        tokens: N, tokens of a frame.
        batch: B.
        visible: Share of the second frame's tokens that are seen; at least one is, and at least one is not.
        generator: CPU generator.

    Returns:
        `context [B, N + n]`, indices into both frames' 2N tokens, and `hidden [B, N - n]`, indices into the second
        frame's N tokens. Both sorted int64.

    Source: the asymmetric masking of SiamMAE (arXiv:2305.14344).
    """
    seen = min(max(round(visible * tokens), 1), tokens - 1)
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    few, hidden = order[:, :seen].sort(dim=1).values, order[:, seen:].sort(dim=1).values
    first = torch.arange(tokens).expand(batch, -1)
    return torch.cat([first, few + tokens], dim=1), hidden


def _random_rows(chosen: Tensor, generator: torch.Generator) -> Tensor:
    """Indices of the true entries of each row, cut at random to the shortest row's count, `[B, n]` sorted."""
    count = int(chosen.sum(dim=1).min())
    keys = torch.rand(chosen.shape, generator=generator).masked_fill(~chosen, -1.0)
    return keys.topk(count, dim=1).indices.sort(dim=1).values


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens: `tokens [B, N, D]`, `index [B, n]` -> `[B, n, D]`."""
    return torch.take_along_dim(tokens, index.unsqueeze(-1), dim=1)
