"""Statistics of features that detect a collapse: standard deviation and effective rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def feature_std(features: Tensor) -> float:
    """Return the standard deviation of each channel over samples, averaged over channels.

    Args:
        features: `[M, D]`, one row per sample.
    """
    return features.float().std(dim=0).mean().item()


def effective_rank(features: Tensor) -> float:
    r"""Return :math:`\exp(-\sum_i p_i \log p_i)`, with p the normalised singular values of centred features.

    Args:
        features: `[M, D]`.

    Returns:
        A number between 1 (collapsed to a line) and min(M, D); 0 if the features do not vary, NaN if one is not
            finite.

    Source: Roy and Vetterli, "The effective rank" (EUSIPCO 2007).
    """
    features = features.float()
    if not torch.isfinite(features).all():  # there is no decomposition
        return math.nan
    singular = torch.linalg.svdvals(features - features.mean(dim=0))
    total = singular.sum()
    if total <= torch.finfo(torch.float32).eps * features.abs().sum():  # the mean's rounding, no variation
        return 0.0
    p = singular / total
    return torch.special.entr(p).sum().exp().item()
