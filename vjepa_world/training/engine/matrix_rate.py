"""The measured rate of matrix products of a device: the upper limit that a training is compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from statistics import median

import torch

#: Small products are limited by kernel launches, large ones by memory: the best size differs between machines.
MATMUL_SIZES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
REPEATS = 7


def matmul_gflops(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Return the measured rate of square matrix products [GFLOP/s], see :func:`matrix_rate`."""
    return matrix_rate(torch.device(device), dtype) / 1e9


@lru_cache
def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Measure the rate of square matrix products [FLOP/s], the best of `MATMUL_SIZES`; once per process.

    Takes a second or two, with the number of threads that torch has at the first call.
    """
    sizes = MATMUL_SIZES.get(device.type, MATMUL_SIZES["cpu"])
    return max(_matmul_rate(size, dtype, str(device)) for size in sizes)


def median_seconds(work: Callable[[], object], device: str) -> float:
    """Return the median time of `work` over `REPEATS` calls after a warm-up [s]."""
    work()
    times_s = []
    for _ in range(REPEATS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        times_s.append(time.perf_counter() - start)
    return median(times_s)


def _matmul_rate(size: int, dtype: torch.dtype, device: str) -> float:
    # A processor at its power limit multiplies ones faster than random numbers.
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, size, generator=generator).to(device, dtype) for _ in range(2))
    out = torch.empty_like(left)
    return 2 * size**3 / median_seconds(lambda: torch.mm(left, right, out=out), device)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
