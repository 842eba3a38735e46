"""Throughput of a training loop, and the share of the time that it waits for data."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class StepClock:
    """Measures the steps of a training loop.

    On a GPU a step may end before its work is done; the work then counts as waiting for the next batch. Look at
    intervals whose steps read a number back, as the check of the loss does.

    Args:
        now: A clock [s].
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._start, self._waited_s, self._steps = now(), 0.0, 0

    def watch(self, batches: Iterable[T]) -> Iterator[T]:
        """Yield the batches, and count the time until each arrives as waiting."""
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

    def metrics(
        self, batch_size: int, unit: str, *, flops: float = 0.0, rate: float = 0.0
    ) -> dict[str, float]:
        """Return the metrics since the last call, and start again.

        Args:
            batch_size: Entries of a batch.
            unit: Name of an entry, in the plural.
            flops: Floating-point operations of all steps since the last call; 0 if they were not counted.
            rate: Matrix rate of the device [FLOP/s], see :func:`matrix_rate.matrix_rate`.

        Returns:
            `UNIT_per_s`, `wait_fraction` (share of the time spent waiting for data) and, if operations were counted,
            `matrix_share` (share of the matrix rate that was used).
        """
        now = self._now()
        wall_s = max(now - self._start, 1e-9)
        metrics = {
            f"{unit}_per_s": batch_size * self._steps / wall_s,
            "wait_fraction": self._waited_s / wall_s,
        }
        if flops and rate:
            metrics["matrix_share"] = flops / wall_s / rate
        self._start, self._waited_s, self._steps = now, 0.0, 0
        return metrics
