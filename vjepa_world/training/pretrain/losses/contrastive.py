"""The contrastive loss of the control objective.

Legend: B clips of a process, W processes, D width of the embedding.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def _alone(x: Tensor) -> Tensor:
    return x


def nt_xent(
    first: Tensor,
    second: Tensor,
    temperature: float = 0.1,
    *,
    rows: Callable[[Tensor], Tensor] = _alone,
    rank: int = 0,
) -> Tensor:
    r"""Return NT-Xent: the cross-entropy of finding a clip's other view among all others.

    .. math::
        \ell_{ij} = -\log \frac{\exp(\cos(z_i, z_j) / \tau)}{\sum_{k \neq i} \exp(\cos(z_i, z_k) / \tau)}

    averaged over both orders (i, j) of the B pairs of this process; k runs over the 2BW views of all processes. The
    mean over processes is the loss of the global batch. Its gradient is correct if the backward pass of `rows` adds up
    the gradients of all processes, and the gradients of the weights are then averaged over processes.

    Args:
        first: Embeddings of one view of each clip, `[B, D]`, of any length.
        second: Of another view, in the same order.
        temperature: :math:`\tau`.
        rows: Gathers the rows of all processes, in their order, `[B, ...]` -> `[W*B, ...]`; differentiable.
        rank: Index of this process.

    Returns:
        A scalar.

    Source: SimCLR (arXiv:2002.05709, equation 1).
    """
    with torch.autocast(first.device.type, enabled=False):
        anchors = F.normalize(torch.stack([first, second], dim=1).float(), dim=-1)  # [B, 2, D]
        keys = rows(anchors)  # [W*B, 2, D]
        scores = torch.einsum("bvd,kud->bvuk", anchors, keys) / temperature
        clips, every = len(anchors), len(keys)
        own = torch.arange(clips, device=first.device).unsqueeze(1)
        at = own + rank * clips
        view = torch.arange(2, device=first.device)
        scores = scores.index_put((own, view, view, at), scores.new_tensor(-torch.inf))
        positives = (1 - view) * every + at  # the same clip's other view
        return F.cross_entropy(scores.flatten(2).flatten(0, 1), positives.flatten())
