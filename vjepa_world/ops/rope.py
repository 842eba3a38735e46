"""Rotary position embedding over time, height and width (3D RoPE), as in V-JEPA 2 and 2.1.

Legend: N tokens, D channels per head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class RotaryTable(NamedTuple):
    """Factors of the rotary embedding for N tokens.

    Attributes:
        cos: Factor of each channel, `[..., N, D]` float32.
        sin: Factor of the other channel of its pair, the same shape.
    """

    cos: Tensor
    sin: Tensor

    def unsqueeze(self, dim: int) -> RotaryTable:
        """Insert an axis (for the heads)."""
        return RotaryTable(self.cos.unsqueeze(dim), self.sin.unsqueeze(dim))


def axis_channels(head_dim: int) -> int:
    """Return how many channels of a head each of the three axes rotates; the rest stay as they are.

    Source: V-JEPA 2 (arXiv:2506.09985): ``2 * ((head_dim // 3) // 2)``.
    """
    return 2 * ((head_dim // 3) // 2)


def grid_positions(
    frames: int, height: int, width: int, device: torch.device | None = None, *, span: int = 0
) -> Tensor:
    """Return the positions of a token grid in token order (time, row, column).

    Args:
        frames: T.
        height: H.
        width: W.
        device: Device of the result.
        span: 0 counts rows and columns from 0. Else they are stretched to [0, span - 1] whatever their number,
            so that another resolution has the positions of the one trained on.

    Returns:
        Positions (t, h, w) in tokens, `[T*H*W, 3]` float32.

    Source: the stretching is V-JEPA 2.1's (arXiv:2603.14482).
    """
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in (frames, height, width)]
    if span:
        axes[1:] = [axis * ((span - 1) / max(len(axis) - 1, 1)) for axis in axes[1:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def rotary_table(
    positions: Tensor, head_dim: int, convention: str = "tiled", base: float = 10000.0
) -> RotaryTable:
    r"""Return the factors that rotate the channels of each token.

    An axis with d channels has the angles :math:`p \cdot base^{-2i/d}`, i < d/2, at position p. Channels beyond the
    three axes keep their values.

    Args:
        positions: Token positions (t, h, w), `[..., N, 3]`.
        head_dim: Channels per head; even.
        convention: How the angles of an axis are assigned to its channels. tiled repeats the whole list (V-JEPA 2),
            interleaved gives each angle to the two channels of a pair (V-JEPA 2.1). Only the second is a rotation,
            only the first fits V-JEPA 2's weights.
        base: Sets the longest wavelength, :math:`2 \pi \cdot base^{1 - 2/d}` tokens. V-JEPA 2 uses 10000.

    Returns:
        Factors `[..., N, head_dim]`.
    """
    channels = axis_channels(head_dim)
    omega = base ** -(
        torch.arange(channels // 2, device=positions.device, dtype=torch.float32) / max(channels / 2, 1)
    )
    angles = positions.float().unsqueeze(-1) * omega
    tiled = convention == "tiled"
    angles = torch.cat([angles, angles], dim=-1) if tiled else angles.repeat_interleave(2, dim=-1)
    angles = angles.flatten(-2)
    unrotated = angles.new_zeros(*angles.shape[:-1], head_dim - 3 * channels)
    angles = torch.cat([angles, unrotated], dim=-1)
    sign = torch.tensor([-1.0, 1.0], device=angles.device).repeat(head_dim // 2)
    return RotaryTable(angles.cos(), angles.sin() * sign)


def apply_rotary(x: Tensor, table: RotaryTable) -> Tensor:
    """Return queries or keys with the rotary embedding, computed in float32.

    Args:
        x: Queries or keys, `[B, heads, N, D]`.
        table: `[N, D]` or `[B, 1, N, D]`, from :func:`rotary_table`.

    Returns:
        The rotated tensor, same shape and dtype as `x`.
    """
    exact = x.float()
    neighbours = exact.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (exact * table.cos + neighbours * table.sin).to(x.dtype)
