"""How well two lists of numbers agree in their order.

Legend: S samples.
"""

from __future__ import annotations

import torch
from torch import Tensor


def spearman(first: Tensor, second: Tensor) -> Tensor:
    r"""Return Spearman's rank correlation `[...]` of `[..., S]` and `[..., S]`; ties get their mean rank.

    It is 0 where one of the two is constant.

    Source: Spearman, The American Journal of Psychology 15 (1904).
    """
    centred = [ranks - ranks.mean(dim=-1, keepdim=True) for ranks in (_ranks(first), _ranks(second))]
    product = (centred[0] * centred[1]).sum(dim=-1)
    scale = (centred[0].square().sum(dim=-1) * centred[1].square().sum(dim=-1)).sqrt()
    return torch.where(scale > 0, product / scale.clamp_min(1e-12), 0.0)


def share_in_order(first: Tensor, second: Tensor) -> float:
    """Return the share of pairs of samples that `first [S]` and `second [S]` order alike.

    Pairs that are equal in `second` do not count; those that are equal in `first` alone count half. NaN without pairs.
    """
    ours, theirs = (values.unsqueeze(1) - values.unsqueeze(0) for values in (first, second))
    counted = theirs > 0
    alike = (ours > 0).double() + (ours == 0).double() / 2
    return float(alike[counted].mean())


def _ranks(values: Tensor) -> Tensor:
    below = (values.unsqueeze(-1) > values.unsqueeze(-2)).sum(dim=-1)
    equal = (values.unsqueeze(-1) == values.unsqueeze(-2)).sum(dim=-1)
    return below.double() + (equal.double() - 1) / 2
