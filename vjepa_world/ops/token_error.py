"""Errors of predicted tokens, and the weights of tokens in a loss.

Legend: B batch, T frames, N tokens per frame, D width.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from vjepa_world.errors import ConfigError, nearest

KINDS = ("l1", "l2", "smooth_l1", "cosine")


def token_error(predicted: Tensor, target: Tensor, kind: str = "l1") -> Tensor:
    r"""Return each token's error, `[..., D]` and `[..., D]` -> `[...]` in float32.

    l1: :math:`\mathrm{mean}_d |p_d - z_d|`; l2: :math:`\mathrm{mean}_d (p_d - z_d)^2`; smooth_l1: the Huber loss with
    a bend at 1, mean over d; cosine: :math:`1 - p \cdot z / (|p| |z|)`. l2 has no factor 1/2; that of the JEPA loss
    (:func:`vjepa_world.training.pretrain.losses.jepa.latent_distance`) has.

    Raises:
        ConfigError: If the kind is not known.
    """
    predicted, target = predicted.float(), target.float()
    if kind == "l1":
        return (predicted - target).abs().mean(dim=-1)
    if kind == "l2":
        return (predicted - target).square().mean(dim=-1)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(predicted, target, reduction="none").mean(dim=-1)
    if kind == "cosine":
        return 1 - F.cosine_similarity(predicted, target, dim=-1)
    raise ConfigError(f"token error '{kind}' is not known; {nearest(kind, KINDS)}")


def token_change(current: Tensor, following: Tensor) -> Tensor:
    """Return the L1 change of each token from `current` to `following`, `[..., N, D]` -> `[..., N]`."""
    return (following - current).abs().mean(dim=-1)


def motion_weights(change: Tensor, share: float, mean: Tensor | None = None) -> Tensor:
    r"""Return token weights of mean one, :math:`1 - \alpha + \alpha\,c_n / \bar c`.

    With :math:`\alpha = 0` all tokens count alike; with larger values tokens that change count more.

    Args:
        change: :math:`c`, see :func:`token_change`, `[..., N]`.
        share: :math:`\alpha` in [0, 1].
        mean: :math:`\bar c`, if it is over more than these tokens.

    Returns:
        `[..., N]`.
    """
    scale = (change.mean() if mean is None else mean).clamp_min(1e-8)
    return 1 - share + share * change / scale
