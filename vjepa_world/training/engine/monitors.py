"""Figures of a training's health and speed that cost little: how far the target is, where the time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

T = TypeVar("T")

#: Tensors whose differences are in memory at once.
_AT_ONCE = 32


@torch.no_grad()
def ema_distance(target: nn.Module, online: nn.Module) -> float:
    r"""Return :math:`\|\theta - \bar\theta\|_2 / \|\theta\|_2` over all weights, the target's distance to the encoder.

    Args:
        target: The moving average, :math:`\bar\theta`.
        online: What it is the average of, :math:`\theta`, of the same architecture.
    """
    ours: list[Tensor] = list(online.parameters())
    theirs: list[Tensor] = list(target.parameters())
    apart = [
        _norm(torch._foreach_sub(ours[first : first + _AT_ONCE], theirs[first : first + _AT_ONCE]))
        for first in range(0, len(ours), _AT_ONCE)
    ]
    return (torch.stack(apart).norm() / _norm(ours)).item()


def _norm(tensors: Sequence[Tensor]) -> Tensor:
    norm = torch.nn.utils.get_total_norm(tensors)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


class StepClock:
    """Where the time of a training loop goes.

    A step that ends without waiting for the device hides its work in the next wait for data: on a GPU look at figures
    of steps that read a number back, as checking the loss does.

    Args:
        now: A clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._start, self._waited_s, self._steps = now(), 0.0, 0

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches; the time that each takes to come counts as waiting."""
        source = iter(batches)
        while True:
            begin = self._now()
            try:
                batch = next(source)
            except StopIteration:
                return
            self._waited_s += self._now() - begin
            self._steps += 1
            yield batch

    def figures(
        self, batch_size: int, unit: str, *, flops: float = 0.0, rate: float = 0.0
    ) -> dict[str, float]:
        """Return the figures since the last call, and start again.

        Args:
            batch_size: Entries of a step.
            unit: What they are called.
            flops: Floating-point operations of all steps since the last call; 0 if they were not counted.
            rate: What the machine's matrix units do [FLOP/s], see :func:`machine_rate.matrix_rate`.

        Returns:
            `UNIT_per_s`, `wait_fraction` (share of the time waiting for data) and, where they were counted,
            `matrix_share` (share of the rate that was used).
        """
        now = self._now()
        wall_s = max(now - self._start, 1e-9)
        figures = {
            f"{unit}_per_s": batch_size * self._steps / wall_s,
            "wait_fraction": self._waited_s / wall_s,
        }
        if flops and rate:
            figures["matrix_share"] = flops / wall_s / rate
        self._start, self._waited_s, self._steps = now, 0.0, 0
        return figures
