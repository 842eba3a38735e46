"""Block-causal attention without a mask matrix.

Legend: B batch, h heads, T steps, M tokens per step, D channels per head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def step_causal_attention(q: Tensor, k: Tensor, v: Tensor, steps: int) -> Tensor:
    """Return attention in which each step attends to itself and to earlier steps, without a `[T*M, T*M]` mask.

    The queries of step t are multiplied with the keys of steps 0..t alone: half of the full attention's work, and no
    memory beyond the output.

    Args:
        q: `[B, h, T*M, D]`, sorted by step.
        k: The same shape.
        v: The same shape.
        steps: T; 1 is plain attention.

    Returns:
        `[B, h, T*M, D]`.

    Source: the block-causal attention of V-JEPA 2-AC (arXiv:2506.09985, section 3).
    """
    if steps == 1:
        return F.scaled_dot_product_attention(q, k, v)
    tokens = q.shape[2] // steps
    parts = [
        F.scaled_dot_product_attention(
            q[:, :, t * tokens : (t + 1) * tokens], k[:, :, : (t + 1) * tokens], v[:, :, : (t + 1) * tokens]
        )
        for t in range(steps)
    ]
    return torch.cat(parts, dim=2)
