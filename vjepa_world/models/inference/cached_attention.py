"""Attention of one imagined step for many samples that share a past.

All tensors have the heads first, so that one memory is both "all samples against the shared keys", one large product,
and "each sample against its own".

Legend: h heads, R samples, M tokens a step, P tokens of the shared past, Q of the sample's own steps so far, d channels
a head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

#: A sum of exponentials outside of these may have lost a number on its way; a softmax is taken then.
SMALLEST, LARGEST = 1e-30, 1e30

#: Bytes of scores that are best computed together on a processor; four times as many took half as long again.
IN_CACHE = 4e6


@dataclass(frozen=True)
class SharedPast:
    """What one layer remembers of the frames that all samples have seen: `keys`, `values` `[h, P, d]`."""

    keys: Tensor
    values: Tensor

    def followed_by(self, later: SharedPast) -> SharedPast:
        """Return this past and what came after it."""
        return SharedPast(
            torch.cat([self.keys, later.keys], dim=1), torch.cat([self.values, later.values], dim=1)
        )


def attend(q: Tensor, k: Tensor, v: Tensor, past: SharedPast | None) -> Tensor:
    """Attend from a step to the shared past and to the sample's own steps.

    Args:
        q: Of the newest step, `[h, R, M, d]`, already divided by the root of d.
        k: Of the sample's own steps, `[h, R, Q, d]`.
        v: The same shape.
        past: Shared by all samples, or None.

    Returns:
        `[R, M, h*d]`.
    """
    eager_on_cpu = q.device.type == "cpu" and not torch.compiler.is_compiling()
    out = _by_exponentials(q, k, v, past) if eager_on_cpu else None
    if out is None:
        out = _by_softmax(q, k, v, past)
    return out.permute(1, 2, 0, 3).flatten(2)


def _by_exponentials(q: Tensor, k: Tensor, v: Tensor, past: SharedPast | None) -> Tensor | None:
    r"""Return :math:`\sum_j e^{q k_j} v_j / \sum_j e^{q k_j}`, `[h, R, M, d]`, or None where that leaves the numbers.

    Without the maximum, shared and own keys need not come together before the end, and an exponential and a sum take
    half the time of a softmax over both on a processor. As many heads go together as leave their scores in the caches.
    """
    # Own and shared keys are scored one after the other.
    keys = k.shape[2] if past is None else max(k.shape[2], past.keys.shape[1])
    at_once = max(1, int(IN_CACHE / (q.shape[1] * q.shape[2] * keys * q.element_size())))
    out = torch.empty_like(q)
    for first in range(0, len(q), at_once):
        heads = slice(first, first + at_once)
        total, summed = _summed(q[heads].flatten(0, 1), k[heads].flatten(0, 1), v[heads].flatten(0, 1))
        if past is not None:
            before, earlier = _summed(q[heads].flatten(1, 2), past.keys[heads], past.values[heads])
            total, summed = total + before.view_as(total), summed + earlier.view_as(summed)
        if not SMALLEST < float(total.min()) <= float(total.max()) < LARGEST:
            return None
        out[heads] = (summed / total).view_as(out[heads])
    return out


def _summed(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the exponentials, float32 `[*, m, 1]`, and of the values that they weigh, `[*, m, d]`."""
    shares = torch.bmm(q, k.transpose(1, 2)).exp_()
    return shares.sum(dim=-1, keepdim=True, dtype=torch.float32), torch.bmm(shares, v)


def _by_softmax(q: Tensor, k: Tensor, v: Tensor, past: SharedPast | None) -> Tensor:
    if past is None and q.device.type == "cuda":
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)
    heads, samples, tokens, _ = q.shape
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(heads, samples, tokens, -1)
    seen = 0
    if past is not None:
        seen = past.keys.shape[1]
        common = torch.bmm(q.flatten(1, 2), past.keys.transpose(1, 2)).view(heads, samples, tokens, seen)
        scores = torch.cat([common, scores], dim=-1)
    shares = torch.softmax(scores, dim=-1)
    out = torch.bmm(shares[..., seen:].reshape(heads * samples, tokens, -1), v.flatten(0, 1)).view(q.shape)
    if past is None:
        return out
    before = torch.bmm(shares[..., :seen].reshape(heads, samples * tokens, seen), past.values)
    return out + before.view(q.shape)


@dataclass(frozen=True)
class SharedStep:
    r"""The first layer of a step in which all samples have all tokens but the first in common.

    A common query i sees the common keys and, of sample s, the one key :math:`k_s`. With the common part summed up
    once, :math:`m_i = \max_j q_i k_j`, :math:`z_i = \sum_j e^{q_i k_j - m_i}` and
    :math:`o_i = \sum_j e^{q_i k_j - m_i} v_j`, what it attends to is

    .. math:: \frac{e^{m_i} o_i + e^{q_i k_s} v_s}{e^{m_i} z_i + e^{q_i k_s}},

    so neither the common keys nor their products are computed again for any sample.

    Attributes:
        queries: Of the common tokens, `[h, M-1, d]`.
        keys: Of the shared past and the common tokens, `[h, P+M-1, d]`.
        values: The same shape.
        top: m, `[h, M-1, 1]`, float32 like the two after it.
        total: z, the same shape.
        summed: o, `[h, M-1, d]`.
    """

    queries: Tensor
    keys: Tensor
    values: Tensor
    top: Tensor
    total: Tensor
    summed: Tensor

    @classmethod
    def of(cls, q: Tensor, k: Tensor, v: Tensor, past: SharedPast | None) -> SharedStep:
        """Sum up what is common: `q`, `k`, `v` `[h, M-1, d]` of the common tokens."""
        if past is not None:
            k, v = torch.cat([past.keys, k], dim=1), torch.cat([past.values, v], dim=1)
        scores = torch.bmm(q, k.transpose(1, 2)).float()
        top = scores.amax(dim=-1, keepdim=True)
        shares = (scores - top).exp()
        return cls(q, k, v, top, shares.sum(dim=-1, keepdim=True), torch.bmm(shares, v.float()))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from the whole step: `q`, `k`, `v` `[h, R, d]` are each sample's own first token's.

        Returns:
            `[R, M, h*d]`.
        """
        first = self._from_own(q, k, v).unsqueeze(1)  # [h, 1, R, d]
        tokens = torch.cat([first, self._from_common(k, v)], dim=1)
        return tokens.permute(2, 1, 0, 3).flatten(2)

    def _from_common(self, k: Tensor, v: Tensor) -> Tensor:
        """Return what the common queries attend to, `[h, M-1, R, d]`."""
        own = torch.bmm(self.queries, k.transpose(1, 2)).float()  # [h, M-1, R]
        top = torch.maximum(own, self.top)
        common, mine = (self.top - top).exp(), (own - top).exp()
        total = common * self.total + mine
        common, mine = (common / total).to(v.dtype), (mine / total).to(v.dtype)
        summed = self.summed.to(v.dtype).unsqueeze(2)
        return common.unsqueeze(-1) * summed + mine.unsqueeze(-1) * v.unsqueeze(1)

    def _from_own(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return what each sample's first token attends to, `[h, R, d]`."""
        scores = torch.cat(
            [torch.bmm(q, self.keys.transpose(1, 2)), (q * k).sum(dim=-1, keepdim=True)], dim=-1
        )
        shares = torch.softmax(scores.float(), dim=-1).to(v.dtype)
        return torch.bmm(shares[..., :-1], self.values) + shares[..., -1:] * v
