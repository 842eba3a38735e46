"""Rotary position embedding over time, height and width (3D RoPE), as in V-JEPA 2.

Legend: N tokens, P channel pairs a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def axis_channels(head_dim: int) -> int:
    """Return how many channels of a head each of the three axes rotates; the rest stay as they are.

    Source: V-JEPA 2 (arXiv:2506.09985): ``2 * ((head_dim // 3) // 2)``.
    """
    return 2 * ((head_dim // 3) // 2)


def grid_positions(frames: int, height: int, width: int, device: torch.device | None = None) -> Tensor:
    """Return the integer positions of a token grid in token order (time, row, column), `[T*H*W, 3]`."""
    axes = [torch.arange(n, device=device) for n in (frames, height, width)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).reshape(-1, 3)


def rope_rotation(positions: Tensor, head_dim: int, base: float = 10000.0) -> Tensor:
    r"""Return the unit complex numbers that rotate each channel pair of each token.

    Pair i of an axis with d channels at position p turns by :math:`p \cdot base^{-2i/d}`; pairs beyond the
    three axes turn by nothing.

    Args:
        positions: Token positions (t, h, w), `[..., N, 3]`, integer or float.
        head_dim: Channels a head; even.

    Returns:
        `[..., N, P]` complex64 with P = head_dim / 2.
    """
    pairs = axis_channels(head_dim) // 2
    omega = base ** -(torch.arange(pairs, device=positions.device, dtype=torch.float32) / max(pairs, 1))
    angles = (positions.float().unsqueeze(-1) * omega).flatten(-2)
    still = angles.new_zeros(*angles.shape[:-1], head_dim // 2 - 3 * pairs)
    angles = torch.cat([angles, still], dim=-1)
    return torch.polar(torch.ones_like(angles), angles)


def rotate(x: Tensor, rotation: Tensor) -> Tensor:
    """Turn neighbouring channel pairs of `x` by `rotation`.

    Args:
        x: Queries or keys, `[B, heads, N, head_dim]`.
        rotation: `[N, P]` or `[B, 1, N, P]` complex, from :func:`rope_rotation`.

    Returns:
        The rotated tensor, same shape and dtype as `x`.
    """
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rotation).flatten(-2).to(x.dtype)
