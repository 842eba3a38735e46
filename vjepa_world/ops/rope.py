"""Rotary position embedding over time, height and width (3D RoPE), as in V-JEPA 2 and 2.1.

Legend: N tokens, D channels a head.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

#: How the angles of an axis are laid onto its channels. V-JEPA 2 repeats the whole list (`tiled`), V-JEPA 2.1 each
#: angle for the two channels of a pair (`interleaved`); only the second is a rotation, only the first fits V-JEPA 2.
CONVENTIONS = ("tiled", "interleaved")


class Rotation(NamedTuple):
    """What each channel is multiplied with: `cos` itself and `sin` its neighbour, both `[..., N, D]` float32."""

    cos: Tensor
    sin: Tensor

    def unsqueeze(self, dim: int) -> Rotation:
        """Insert an axis (for the heads)."""
        return Rotation(self.cos.unsqueeze(dim), self.sin.unsqueeze(dim))


def axis_channels(head_dim: int) -> int:
    """Return how many channels of a head each of the three axes rotates; the rest stay as they are.

    Source: V-JEPA 2 (arXiv:2506.09985): ``2 * ((head_dim // 3) // 2)``.
    """
    return 2 * ((head_dim // 3) // 2)


def grid_positions(
    frames: int, height: int, width: int, device: torch.device | None = None, *, span: int = 0
) -> Tensor:
    """Return the positions of a token grid in token order (time, row, column), `[T*H*W, 3]` float32.

    Args:
        frames: T.
        height: H.
        width: W.
        device: Where.
        span: 0 counts rows and columns from 0. Else they are stretched to [0, span - 1] whatever their number,
            so that another resolution sees the positions of the one trained on.

    Source: the stretching is V-JEPA 2.1's (arXiv:2603.14482).
    """
    axes = [torch.arange(n, device=device, dtype=torch.float32) for n in (frames, height, width)]
    if span:
        axes[1:] = [axis * ((span - 1) / max(len(axis) - 1, 1)) for axis in axes[1:]]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def rope_rotation(
    positions: Tensor, head_dim: int, convention: str = "tiled", base: float = 10000.0
) -> Rotation:
    r"""Return the factors that turn the channels of each token.

    An axis with d channels has the angles :math:`p \cdot base^{-2i/d}`, i < d/2, at position p. Channels beyond the
    three axes keep their values.

    Args:
        positions: Token positions (t, h, w), `[..., N, 3]`.
        head_dim: Channels a head; even.
        convention: One of :data:`CONVENTIONS`.
        base: The longest wavelength over 2 pi.
    """
    channels = axis_channels(head_dim)
    omega = base ** -(
        torch.arange(channels // 2, device=positions.device, dtype=torch.float32) / max(channels / 2, 1)
    )
    angles = positions.float().unsqueeze(-1) * omega
    tiled = convention == "tiled"
    angles = torch.cat([angles, angles], dim=-1) if tiled else angles.repeat_interleave(2, dim=-1)
    angles = angles.flatten(-2)
    still = angles.new_zeros(*angles.shape[:-1], head_dim - 3 * channels)
    angles = torch.cat([angles, still], dim=-1)
    sign = torch.tensor([-1.0, 1.0], device=angles.device).repeat(head_dim // 2)
    return Rotation(angles.cos(), angles.sin() * sign)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turn the channels of `x` by `rotation`, computed in float32.

    Args:
        x: Queries or keys, `[B, heads, N, D]`.
        rotation: `[N, D]` or `[B, 1, N, D]`, from :func:`rope_rotation`.

    Returns:
        The turned tensor, same shape and dtype as `x`.
    """
    exact = x.float()
    neighbours = exact.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return (exact * rotation.cos + neighbours * rotation.sin).to(x.dtype)
