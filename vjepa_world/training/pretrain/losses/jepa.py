"""The JEPA loss: the distance between predicted and target features.

V-JEPA 2 is `latent_distance(predicted, gather_tokens(normalize_levels(target), hidden))`. V-JEPA 2.1 adds the same on
the context tokens, with `context_weights`, and concatenates several levels.

Legend: B clips, n tokens, L levels, D width.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

Distance = Literal["l1", "l2", "smooth_l1"]


def normalize_levels(features: Tensor, levels: int = 1) -> Tensor:
    r"""Return the targets: :math:`(z - \mu) / \sqrt{\sigma^2 + \epsilon}` over each level's channels, without weights.

    Args:
        features: Features of the target encoder, `[B, n, L*D]`, levels concatenated.
        levels: L.

    Returns:
        The same shape, float32.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2) with one level; V-JEPA 2.1 (arXiv:2603.14482) with four.
    """
    split = features.float().unflatten(-1, (levels, -1))
    return F.layer_norm(split, split.shape[-1:]).flatten(-2)


def latent_distance(
    predicted: Tensor, target: Tensor, kind: Distance = "l1", weights: Tensor | None = None
) -> Tensor:
    r"""Return :math:`\frac{1}{Bn} \sum_i w_i \frac1D \sum_d \rho(p_{id} - z_{id})`.

    :math:`\rho(e)` is :math:`|e|` (l1), :math:`e^2 / 2` (l2), or :math:`e^2 / 2` up to 1 and :math:`|e| - 1/2` beyond
    it (smooth_l1). l2 is half the squared error; :func:`vjepa_world.ops.token_error.token_error`, the error of
    fine-tuning, has no factor 1/2. With concatenated levels it is the mean of the levels' losses.

    Args:
        predicted: `[B, n, D]`.
        target: The same shape; see :func:`normalize_levels`.
        kind: Which distance.
        weights: w, `[B, n]`; None for 1. The sum is divided by the number of tokens, not by the sum of weights.

    Returns:
        A scalar.

    Source: V-JEPA 2 and 2.1 (l1; their exponent 2 is l2), I-JEPA (arXiv:2301.08243; its code takes smooth_l1).
    """
    predicted, target = predicted.float(), target.float()
    reduction = "mean" if weights is None else "none"
    if kind == "l1":
        error = F.l1_loss(predicted, target, reduction=reduction)
    elif kind == "l2":
        error = F.mse_loss(predicted, target, reduction=reduction) / 2
    else:
        error = F.smooth_l1_loss(predicted, target, reduction=reduction)
    return error if weights is None else (error.mean(dim=-1) * weights).mean()


def context_weights(distance: Tensor, strength: float) -> Tensor:
    r"""Return :math:`w_i = \lambda / \sqrt{d_i}`, the weights of V-JEPA 2.1's loss on visible tokens.

    Args:
        distance: d, `[B, n]`, in tokens, at least 1; from
            :func:`vjepa_world.ops.masking.token_distance.distance_to_hidden`.
        strength: :math:`\lambda`, times the ramp's value.

    Returns:
        `[B, n]`.

    Source: V-JEPA 2.1 (arXiv:2603.14482).
    """
    return strength * distance.rsqrt()
