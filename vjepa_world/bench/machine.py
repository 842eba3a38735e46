"""What the machine can do at best, measured and not looked up: the limits that other benchmarks are held against."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache
from statistics import median
from typing import TYPE_CHECKING

import torch

from vjepa_world.bench.harness import Row, row
from vjepa_world.training.hardware import resolve_device

if TYPE_CHECKING:
    from vjepa_world.bench import BenchConfig

# Small products are bound by starting them, large ones by memory: the best size differs between machines.
MATMUL_SIZES = (1024, 2048)
COPY_BYTES = 256 * 2**20
TURNS = 7


@lru_cache
def matmul_gflops(dtype: torch.dtype = torch.float32, device: str = "cpu") -> float:
    """Return the measured rate of square matrix products [GFLOP/s], best of `MATMUL_SIZES`; cached per process.

    Uses as many threads as torch has (`torch.get_num_threads()`) when first called.
    """
    return max(_matmul_rate(size, dtype, device) for size in MATMUL_SIZES) / 1e9


@lru_cache
def copy_gbytes_per_s(device: str = "cpu") -> float:
    """Return the measured memory traffic of a large copy, read plus write [GB/s]; cached per process."""
    source = torch.ones(COPY_BYTES // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    seconds = _median_seconds(lambda: target.copy_(source), device)
    return 2 * COPY_BYTES / seconds / 1e9


def run(config: BenchConfig) -> list[Row]:
    """Measure bfloat16 beside float32 matrix products, and torch's copy beside numpy's."""
    device = resolve_device(config.device).type
    half, single = matmul_gflops(torch.bfloat16, device), matmul_gflops(torch.float32, device)
    rows = [row("matmul bfloat16 beside float32", half, single, "GFLOP/s", limit=max(half, single))]
    if device == "cpu":
        threads, alone = copy_gbytes_per_s(device), _numpy_copy_gbytes_per_s()
        rows.append(row("copy, torch beside numpy", threads, alone, "GB/s", limit=max(threads, alone)))
    return rows


def _matmul_rate(size: int, dtype: torch.dtype, device: str) -> float:
    left, right = (torch.ones(size, size, dtype=dtype, device=device) for _ in range(2))
    out = torch.empty_like(left)
    seconds = _median_seconds(lambda: torch.mm(left, right, out=out), device)
    return 2 * size**3 / seconds


def _numpy_copy_gbytes_per_s() -> float:
    import numpy as np

    source = np.ones(COPY_BYTES // 4, dtype=np.float32)
    target = np.empty_like(source)
    return 2 * COPY_BYTES / _median_seconds(lambda: np.copyto(target, source), "cpu") / 1e9


def _median_seconds(work: Callable[[], object], device: str) -> float:
    work()
    taken = []
    for _ in range(TURNS):
        _wait(device)
        start = time.perf_counter()
        work()
        _wait(device)
        taken.append(time.perf_counter() - start)
    return median(taken)


def _wait(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize()
