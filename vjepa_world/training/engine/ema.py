"""The exponential moving average of a trained module: its momentum, its update, its distance."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

#: Tensors whose differences are in memory at the same time.
_CHUNK = 32


def ema_momentum(progress: float, first: float, last: float) -> float:
    """Return the momentum at fraction `progress` of the run: linear from `first` to `last`."""
    return first + (last - first) * progress


@torch.no_grad()
def update_ema(average: nn.Module, online: nn.Module, momentum: float) -> None:
    r"""Set :math:`\bar\theta \leftarrow m \bar\theta + (1 - m) \theta` for all weights, in place.

    Args:
        average: The moving average, :math:`\bar\theta`.
        online: The trained module of the same architecture, :math:`\theta`.
        momentum: m.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2).
    """
    torch._foreach_lerp_(list(average.parameters()), list(online.parameters()), 1 - momentum)


@torch.no_grad()
def ema_distance(average: nn.Module, online: nn.Module) -> float:
    r"""Return :math:`\|\theta - \bar\theta\|_2 / \|\theta\|_2` over all weights.

    Args:
        average: The moving average, :math:`\bar\theta`.
        online: The trained module of the same architecture, :math:`\theta`.
    """
    weights: list[Tensor] = list(online.parameters())
    averages: list[Tensor] = list(average.parameters())
    norms = [
        _norm(torch._foreach_sub(weights[first : first + _CHUNK], averages[first : first + _CHUNK]))
        for first in range(0, len(weights), _CHUNK)
    ]
    return (torch.stack(norms).norm() / _norm(weights)).item()


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norm = torch.nn.utils.get_total_norm(tensors)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
