"""Added sine-cosine positions: V-JEPA 1 (time, height, width) and I-JEPA (height, width).

Legend: T H W the token grid, N = T*H*W tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def _axis(positions: Tensor, width: int) -> Tensor:
    """Return `[N, width]`: the sines of all frequencies, then their cosines."""
    omega = 10000.0 ** -(torch.arange(width // 2, dtype=torch.float64) / (width / 2))
    angles = positions.double().unsqueeze(-1) * omega
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


def sincos_positions(frames: int, height: int, width: int, dim: int, *, image: bool = False) -> Tensor:
    """Return the table of a grid in token order (time, row, column).

    A third of the channels belongs to each axis, as in V-JEPA 1's released recipe.

    Args:
        frames: T.
        height: H.
        width: W.
        dim: D.
        image: Whether to return I-JEPA's table of one frame: no channels for time, and columns first.

    Returns:
        `[N, dim]` float32.

    Source: V-JEPA (arXiv:2404.08471); I-JEPA (arXiv:2301.08243).
    """
    axes = torch.meshgrid(*(torch.arange(n) for n in (frames, height, width)), indexing="ij")
    time, rows, columns = (axis.flatten() for axis in axes)
    if image:
        return torch.cat([_axis(columns, dim // 2), _axis(rows, dim // 2)], dim=-1).float()
    channels = -(-dim // 6) * 2
    return torch.cat([_axis(axis, channels) for axis in (time, rows, columns)], dim=-1)[:, :dim].float()


def resize_positions(table: Tensor, grid: tuple[int, int, int], wanted: tuple[int, int, int]) -> Tensor:
    """Return a table for another token grid, interpolated where the grids differ.

    A table of a single frame is resized bicubically, one with time trilinearly, as in the code of I-JEPA and V-JEPA.

    Args:
        table: `[1, N, D]`.
        grid: The table's grid (T, H, W).
        wanted: The other grid.

    Returns:
        `[1, T*H*W, D]` of the wanted grid.
    """
    if grid == wanted:
        return table
    maps = table.unflatten(1, grid).permute(0, 4, 1, 2, 3)
    if grid[0] == 1:
        resized = F.interpolate(maps.squeeze(2), size=wanted[1:], mode="bicubic").unsqueeze(2)
        resized = resized.expand(-1, -1, wanted[0], -1, -1)
    else:
        resized = F.interpolate(maps, size=wanted, mode="trilinear")
    return resized.flatten(2).transpose(1, 2)
