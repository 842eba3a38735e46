"""V-JEPA's 3D multi-block masks: context tokens for the encoder, target tokens for the predictor.

Legend: B clips, T H W the token grid, P = H*W positions of a frame, N = T*P tokens, Nc context tokens, Np predicted
tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vjepa_world.ops.masking.spec import VJEPA2_MASKS, MaskSpec

__all__ = [
    "TRIES",
    "VJEPA2_MASKS",
    "MaskSpec",
    "block_shape",
    "gather_tokens",
    "over_frames",
    "random_order",
    "sample_masks",
    "sample_pair_masks",
]

#: How often the masks of clips without a usable context are drawn again.
TRIES = 100


def block_shape(scale: float, aspect: float, height: int, width: int) -> tuple[int, int]:
    """Return height and width, in tokens, of a block of `scale` of the frame and `aspect` = height / width."""
    area = int(scale * height * width)
    block_height = min(max(round(math.sqrt(area * aspect)), 1), height)
    block_width = min(max(round(math.sqrt(area / aspect)), 1), width)
    return block_height, block_width


def _hidden_area(spec: MaskSpec, height: int, width: int, batch: int, generator: torch.Generator) -> Tensor:
    """Union of the blocks for each clip, `[B, P]` bool; never the whole frame."""
    spread = spec.aspect_high - spec.aspect_low
    aspect = spec.aspect_low + spread * torch.rand((), generator=generator).item()
    shape = block_shape(spec.scale, aspect, height, width)
    hidden = _unions(batch, spec.num_blocks, shape, (height, width), generator)
    full = hidden.all(dim=1).nonzero().squeeze(1)
    for _ in range(TRIES):
        if not len(full):
            return hidden
        again = _unions(len(full), spec.num_blocks, shape, (height, width), generator)
        hidden[full] = again
        full = full[again.all(dim=1)]
    # On a grid of few tokens such blocks may cover the frame wherever they are.
    hidden[full, torch.randint(0, height * width, (len(full),), generator=generator)] = False
    return hidden


def _unions(
    batch: int, blocks: int, shape: tuple[int, int], size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return the union of `blocks` blocks at random positions, `[B, P]` bool."""
    top = torch.randint(0, size[0] - shape[0] + 1, (batch, blocks, 1), generator=generator)
    left = torch.randint(0, size[1] - shape[1] + 1, (batch, blocks, 1), generator=generator)
    rows, columns = torch.arange(size[0]), torch.arange(size[1])
    in_rows = (rows >= top) & (rows < top + shape[0])
    in_columns = (columns >= left) & (columns < left + shape[1])
    # Number of blocks at each position: a small matrix product a clip needs less memory than comparing positions.
    return (in_rows.float().mT @ in_columns.float()).flatten(1) > 0


def sample_masks(
    grid: tuple[int, int, int], batch: int, specs: Sequence[MaskSpec], generator: torch.Generator
) -> list[tuple[Tensor, Tensor]]:
    """Draw one (context, target) pair of token indices per mask family.

    A block's size is drawn once per batch and its position once per clip; blocks extend over all frames. The target is
    the blocks' union, the context its complement, both cut at random to the smallest of the batch so that they stack.
    If the union is the entire frame, the blocks' positions are drawn again, since one clip almost without context would
    cut the context of the batch. If that never helps, one position at random stays visible.

    Args:
        grid: Token grid (T, H, W).
        batch: Number of clips.
        specs: Mask families.
        generator: CPU generator; all randomness comes from it.

    Returns:
        For each family, `context [B, Nc]` and `target [B, Np]`, sorted int64 indices into the N tokens.

    Source:
        V-JEPA 2 (arXiv:2506.09985, section 2); V-JEPA's (arXiv:2404.08471) are the same.
    """
    _, height, width = grid
    pairs = []
    for spec in specs:
        hidden = _hidden_area(spec, height, width, batch, generator)
        counts = hidden.sum(dim=1)
        order = random_order(hidden, generator)
        target = order[:, : int(counts.min())]
        context = order[:, int(counts.max()) :]
        pairs.append((over_frames(context, grid), over_frames(target, grid)))
    return pairs


def sample_pair_masks(
    tokens: int, batch: int, visible: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw the visible tokens of a pair of frames: all of the first one, some of the second.

    Args:
        tokens: N, tokens of a frame.
        batch: B.
        visible: Share of the second frame's tokens that are visible; at least one is, and at least one is not.
        generator: CPU generator.

    Returns:
        `context [B, N + n]`, indices into both frames' 2N tokens, and `hidden [B, N - n]`, indices into the second
        frame's N tokens. Both sorted int64.

    Source: the asymmetric masking of SiamMAE (arXiv:2305.14344).
    """
    count = min(max(round(visible * tokens), 1), tokens - 1)
    order = torch.rand(batch, tokens, generator=generator).argsort(dim=1)
    few, hidden = order[:, :count].sort(dim=1).values, order[:, count:].sort(dim=1).values
    first = torch.arange(tokens).expand(batch, -1)
    return torch.cat([first, few + tokens], dim=1), hidden


def random_order(first: Tensor, generator: torch.Generator) -> Tensor:
    """Return each row's positions in random order, those that are true in `first` before the others.

    Args:
        first: `[B, P]` bool.
        generator: CPU generator.

    Returns:
        `[B, P]` int64, each row a permutation of 0..P-1.
    """
    # One integer holds group, random number and position, since NumPy sorts plain integers several times faster than
    # torch sorts numbers with their indices.
    bits = first.shape[1].bit_length()
    keys = torch.randint(0, 1 << 32, first.shape, generator=generator)
    keys += (~first).to(torch.int64) << 32
    packed = (keys << bits) + torch.arange(first.shape[1])
    return torch.from_numpy(np.sort(packed.numpy(), axis=1)) & ((1 << bits) - 1)


def over_frames(positions: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Return the indices of the tokens at `positions [..., n]` of every frame, `[..., T*n]`, sorted."""
    frames, height, width = grid
    inside = torch.from_numpy(np.sort(positions.numpy(), axis=-1))
    offsets = torch.arange(frames).unsqueeze(-1) * (height * width)
    return (inside.unsqueeze(-2) + offsets).flatten(-2)


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Pick tokens: `tokens [B, N, D]`, `index [B, n]` -> `[B, n, D]`."""
    # Whole rows are copied; take_along_dim would read an index for every channel, at nine times the cost.
    firsts = torch.arange(len(tokens), device=index.device).unsqueeze(1) * tokens.shape[1]
    return tokens.flatten(0, 1).index_select(0, (index + firsts).flatten()).unflatten(0, index.shape)
