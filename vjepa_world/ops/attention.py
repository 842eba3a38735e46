"""Attention by the kernel that is fastest here, and block-causal attention without a mask matrix.

Legend: B batch, h heads, N queries, T steps, M tokens per step, D channels per head.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]

#: The fused kernel is left only for one that takes less than this share of its time, so that noise does not decide.
WORTH_LEAVING = 0.8

#: Scores above this size [bytes] are not stored for the backward pass; the fused kernel computes them again.
LARGEST_SCORES = 256e6


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    r"""Return :math:`\mathrm{softmax}(q k^T / \sqrt{D})\,v`.

    On a CPU, PyTorch's fused kernel has a backward pass in bfloat16 and float16 that takes up to ten times as long as
    that of two matrix products and a softmax; with many tokens it is the faster one. Which one depends on the machine
    and the shape, so in these types the faster one is measured at the first use of a shape (rounded up to powers of
    two) and kept for the process. The two differ by the rounding of the type. Elsewhere it is always the fused one.

    Args:
        q: Queries, `[B, h, N, D]`.
        k: Keys, `[B, h, K, D]`.
        v: Values, the same shape.

    Returns:
        `[B, h, N, D]`.
    """
    if _fused_may_be_slow(q, k, v) and _products_are_faster(
        _power_of_two(q.shape[0] * q.shape[1]),
        _power_of_two(q.shape[2]),
        _power_of_two(k.shape[2]),
        q.shape[3],
        q.dtype,
    ):
        return products_attention(q, k, v)
    return F.scaled_dot_product_attention(q, k, v)


def products_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return :func:`attention` by two matrix products and a softmax."""
    scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-1, -2))
    return torch.matmul(torch.softmax(scores, dim=-1), v)


def _fused_may_be_slow(q: Tensor, k: Tensor, v: Tensor) -> bool:
    return (
        q.device.type == "cpu"
        and q.dtype in (torch.bfloat16, torch.float16)
        and torch.is_grad_enabled()
        and (q.requires_grad or k.requires_grad or v.requires_grad)
        and not torch.compiler.is_compiling()
        and q.shape[:3].numel() * k.shape[2] * q.element_size() <= LARGEST_SCORES
    )


@cache
def _products_are_faster(matrices: int, queries: int, keys: int, channels: int, dtype: torch.dtype) -> bool:
    """Measure both kernels, forward and backward, on random numbers: some milliseconds."""
    with torch.enable_grad(), torch.random.fork_rng(devices=[]):
        q, k, v = (
            torch.randn(matrices, 1, count, channels).to(dtype).requires_grad_()
            for count in (queries, keys, keys)
        )
        seconds = [
            _seconds(kernel, q, k, v) for kernel in (products_attention, F.scaled_dot_product_attention)
        ]
    return seconds[0] < WORTH_LEAVING * seconds[1]


def _seconds(kernel: Kernel, *tensors: Tensor) -> float:
    """Return the shortest of three times of a forward and a backward pass, after one to warm up [s]."""
    times_s = []
    for _ in range(4):
        start = time.perf_counter()
        out = kernel(*tensors)
        torch.autograd.grad(out, tensors, torch.ones_like(out))
        times_s.append(time.perf_counter() - start)
    return min(times_s[1:])


def _power_of_two(count: int) -> int:
    return 1 << max(count - 1, 0).bit_length()


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
        return attention(q, k, v)
    tokens = q.shape[2] // steps
    parts = [
        attention(
            q[:, :, t * tokens : (t + 1) * tokens], k[:, :, : (t + 1) * tokens], v[:, :, : (t + 1) * tokens]
        )
        for t in range(steps)
    ]
    return torch.cat(parts, dim=2)
