"""Distances of visible tokens to the nearest hidden one.

Legend: B clips, T H W the token grid, N = T*H*W tokens, Nc visible tokens, Np hidden tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor


def distance_to_hidden(context: Tensor, hidden: Tensor, grid: tuple[int, int, int]) -> Tensor:
    r"""Return :math:`d_i = \min_{j \in \mathrm{hidden}} \lVert x_i - x_j \rVert_2`, the Euclidean distance in tokens.

    Positions x are (t, h, w): a step in time counts as much as one in space. The minimum is taken along one axis after
    the other, an exact distance transform, so no matrix of distances between tokens is stored.

    Args:
        context: Indices of the visible tokens, `[B, Nc]`.
        hidden: Indices of the hidden tokens, `[B, Np]`; other tokens count for neither.
        grid: Token grid (T, H, W).

    Returns:
        `[B, Nc]` float32; infinite if nothing is hidden.

    Source: V-JEPA 2.1 (arXiv:2603.14482); the transform: Felzenszwalb and Huttenlocher (Theory of Computing 2012).
    """
    count = grid[0] * grid[1] * grid[2]
    squared = torch.full((len(hidden), count), torch.inf, device=hidden.device)
    squared = squared.scatter_(1, hidden, 0.0).unflatten(1, grid)
    for axis, length in enumerate(grid, start=1):
        line = squared.movedim(axis, -1)
        positions = torch.arange(length, device=hidden.device)
        nearest = torch.full_like(line, torch.inf)
        for position in range(length):
            nearest = torch.minimum(nearest, line[..., position, None] + (positions - position).square())
        squared = nearest.movedim(-1, axis)
    return torch.take_along_dim(squared.flatten(1), context, dim=1).sqrt()
