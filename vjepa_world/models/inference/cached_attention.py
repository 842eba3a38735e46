"""Attention of one rollout step: to a KV cache that the samples of a problem share, and to each sample's own.

All tensors have the heads first, so that one tensor is both "all samples against the shared keys", one large product
per problem, and "each sample against its own keys".

Legend: h heads, B problems, S samples of each, R = B*S rows with the samples of a problem next to each other, M tokens
per step, P tokens in the shared cache, Q tokens in the per-sample cache, d channels per head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.models.transformer import KeyValues

#: A sum of exponentials outside of these bounds may have overflowed or underflowed; a softmax is computed instead.
SMALLEST, LARGEST = 1e-30, 1e30

#: Bytes of scores that are computed together on a CPU. Measured: four times as many took half as long again.
IN_CACHE = 4e6


def attend(q: Tensor, k: Tensor, v: Tensor, shared: KeyValues | None) -> Tensor:
    """Attend from a step to the shared cache and to the sample's own keys.

    Args:
        q: Queries of the newest step, `[h, R, M, d]`, already divided by the square root of d.
        k: Keys of the sample's own steps, `[h, R, Q, d]`.
        v: Values, the same shape.
        shared: Keys and values of the context, `[h, B, P, d]` each, or None.

    Returns:
        `[R, M, h*d]`.
    """
    eager_on_cpu = q.device.type == "cpu" and not torch.compiler.is_compiling()
    out = _by_exponentials(q, k, v, shared) if eager_on_cpu else None
    if out is None:
        out = _by_softmax(q, k, v, shared)
    return out.permute(1, 2, 0, 3).flatten(2)


def _by_exponentials(q: Tensor, k: Tensor, v: Tensor, shared: KeyValues | None) -> Tensor | None:
    r"""Return :math:`\sum_j e^{q k_j} v_j / \sum_j e^{q k_j}`, `[h, R, M, d]`, or None where a sum is out of bounds.

    Without subtracting the maximum, shared and own keys can be summed separately, and an exponential and a sum take
    half the time of a softmax over both on a CPU. As many heads are computed together as leave their scores in the
    caches.
    """
    # Own and shared keys are scored one after the other.
    keys = k.shape[2] if shared is None else max(k.shape[2], shared.keys.shape[2])
    at_once = max(1, int(IN_CACHE / (q.shape[1] * q.shape[2] * keys * q.element_size())))
    out = torch.empty_like(q)
    for first in range(0, len(q), at_once):
        heads = slice(first, first + at_once)
        total, summed = _exponential_sums(
            q[heads].flatten(0, 1), k[heads].flatten(0, 1), v[heads].flatten(0, 1)
        )
        if shared is not None:
            keys_of, values_of = shared.keys[heads].flatten(0, 1), shared.values[heads].flatten(0, 1)
            shared_total, shared_sum = _exponential_sums(
                _by_problem(q[heads], len(keys_of)), keys_of, values_of
            )
            total, summed = total + shared_total.view_as(total), summed + shared_sum.view_as(summed)
        if not SMALLEST < float(total.min()) <= float(total.max()) < LARGEST:
            return None
        out[heads] = (summed / total).view_as(out[heads])
    return out


def _exponential_sums(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums of exponentials, float32 `[*, m, 1]`, and of values weighted by them, `[*, m, d]`."""
    weights = torch.bmm(q, k.transpose(1, 2)).exp_()
    return weights.sum(dim=-1, keepdim=True, dtype=torch.float32), torch.bmm(weights, v)


def _by_softmax(q: Tensor, k: Tensor, v: Tensor, shared: KeyValues | None) -> Tensor:
    """Return what :func:`_by_exponentials` does, by a softmax over shared and own keys together."""
    if shared is None and q.device.type == "cuda":
        return F.scaled_dot_product_attention(q, k, v, scale=1.0)
    scores = torch.bmm(q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2)).view(*q.shape[:3], -1)
    if shared is None:
        return torch.bmm(torch.softmax(scores, dim=-1).flatten(0, 1), v.flatten(0, 1)).view(q.shape)
    keys, values = shared.keys.flatten(0, 1), shared.values.flatten(0, 1)
    shared_scores = torch.bmm(_by_problem(q, len(keys)), keys.transpose(1, 2)).view(*q.shape[:3], -1)
    count = shared_scores.shape[-1]
    weights = torch.softmax(torch.cat([shared_scores, scores], dim=-1), dim=-1)
    out = torch.bmm(weights[..., count:].flatten(0, 1), v.flatten(0, 1)).view(q.shape)
    return out + torch.bmm(_by_problem(weights[..., :count], len(keys)), values).view(q.shape)


def _by_problem(rows: Tensor, groups: int) -> Tensor:
    """Return `[h, B*S, M, x]` as `[h*B, S*M, x]`, with `groups` = h*B."""
    return rows.reshape(groups, -1, rows.shape[-1])


@dataclass(frozen=True)
class SharedFirstStep:
    r"""The first step of a rollout in the first layer, where samples of a problem differ in the action token alone.

    A shared query i sees the shared keys and, of sample s, the one key :math:`k_s` of its action. With the sums over
    shared keys computed once, :math:`m_i = \max_j q_i k_j`, :math:`z_i = \sum_j e^{q_i k_j - m_i}` and
    :math:`o_i = \sum_j e^{q_i k_j - m_i} v_j`, its output is

    .. math:: \frac{e^{m_i} o_i + e^{q_i k_s} v_s}{e^{m_i} z_i + e^{q_i k_s}},

    so neither the shared keys nor their products are computed again for any sample.

    Attributes:
        tokens: All tokens but the action's, before the first layer, `[B, M-1, W]`, W the predictor's width.
        step: Their keys and values, `[h, B, M-1, d]` each.
        queries: Their queries, `[h*B, M-1, d]`.
        keys: Of the context's cache and of these tokens, `[h*B, P+M-1, d]`.
        values: The same shape.
        maximum: m, `[h*B, M-1, 1]`, float32 like the two after it.
        total: z, the same shape.
        summed: o, `[h*B, M-1, d]`.
    """

    tokens: Tensor
    step: KeyValues
    queries: Tensor
    keys: Tensor
    values: Tensor
    maximum: Tensor
    total: Tensor
    summed: Tensor

    @classmethod
    def of(cls, tokens: Tensor, q: Tensor, step: KeyValues, shared: KeyValues | None) -> SharedFirstStep:
        """Compute the sums over shared keys.

        Args:
            tokens: `[B, M-1, W]`.
            q: Their queries, `[h, B, M-1, d]`.
            step: Their keys and values, the same shape.
            shared: The context's keys and values, `[h, B, P, d]`, or None.
        """
        keys, values = step if shared is None else shared.followed_by(step)
        queries, keys, values = q.flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1)
        scores = torch.bmm(queries, keys.transpose(1, 2)).float()
        maximum = scores.amax(dim=-1, keepdim=True)
        weights = (scores - maximum).exp()
        total, summed = weights.sum(dim=-1, keepdim=True), torch.bmm(weights, values.float())
        return cls(tokens, step, queries, keys, values, maximum, total, summed)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend from all tokens of the step, given each sample's action token.

        Args:
            q: Query of the action token, `[h, R, d]`.
            k: Its key, the same shape.
            v: Its value, the same shape.

        Returns:
            `[R, M, h*d]`, the action token first.
        """
        heads, groups = len(q), len(self.queries)
        q, k, v = (part.reshape(groups, -1, part.shape[-1]) for part in (q, k, v))  # [h*B, S, d]
        action = self._from_action(q, k, v).unsqueeze(1)  # [h*B, 1, S, d]
        tokens = torch.cat([action, self._from_shared(k, v)], dim=1).unflatten(
            0, (heads, -1)
        )  # [h, B, M, S, d]
        return tokens.permute(1, 3, 2, 0, 4).flatten(3).flatten(0, 1)

    def _from_shared(self, k: Tensor, v: Tensor) -> Tensor:
        """Return the output of the shared queries, `[h*B, M-1, S, d]`, given keys and values `[h*B, S, d]`."""
        own = torch.bmm(self.queries, k.transpose(1, 2)).float()  # [h*B, M-1, S]
        maximum = torch.maximum(own, self.maximum)
        shared, own = (self.maximum - maximum).exp(), (own - maximum).exp()
        total = shared * self.total + own
        shared, own = (shared / total).to(v.dtype), (own / total).to(v.dtype)
        summed = self.summed.to(v.dtype).unsqueeze(2)
        return shared.unsqueeze(-1) * summed + own.unsqueeze(-1) * v.unsqueeze(1)

    def _from_action(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return the output of each sample's action token, `[h*B, S, d]`."""
        scores = torch.cat(
            [torch.bmm(q, self.keys.transpose(1, 2)), (q * k).sum(dim=-1, keepdim=True)], dim=-1
        )
        weights = torch.softmax(scores.float(), dim=-1).to(v.dtype)
        return torch.bmm(weights[..., :-1], self.values) + weights[..., -1:] * v
