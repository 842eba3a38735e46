"""Masks of random tokens: those of masked autoencoders.

Legend: B clips, T H W the token grid, P = H*W positions of a frame, N = T*P tokens, Nc visible and Np hidden
tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.ops.masking.blocks import over_frames, random_order


def sample_random_masks(
    grid: tuple[int, int, int], batch: int, ratio: float, generator: torch.Generator, *, tube: bool = True
) -> tuple[Tensor, Tensor]:
    """Draw which tokens are visible and which are hidden; all sets of them are equally likely.

    Args:
        grid: Token grid (T, H, W).
        batch: B.
        ratio: Share that is hidden, in (0, 1); at least one position is, and at least one is not.
        generator: CPU generator; all randomness comes from it.
        tube: Hide the same positions of all frames; else any tokens.

    Returns:
        `context [B, Nc]` and `hidden [B, Np]`, sorted int64 indices that together are all N tokens.

    Source: MAE (arXiv:2111.06377; images, 0.75), VideoMAE (arXiv:2203.12602; tubes, 0.9), masked autoencoders as
    spatiotemporal learners (arXiv:2205.09113; any tokens, 0.9).
    """
    drawn = grid if tube else (1, 1, grid[0] * grid[1] * grid[2])
    positions = drawn[1] * drawn[2]
    hidden = min(max(round(ratio * positions), 1), positions - 1)
    order = random_order(torch.ones(batch, positions, dtype=torch.bool), generator)
    return over_frames(order[:, hidden:], drawn), over_frames(order[:, :hidden], drawn)
