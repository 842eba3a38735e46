"""Measured limits of this machine, which other benchmarks compare with: matrix products and memory bandwidth."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import torch

from vjepa_world.bench.harness import Row, row
from vjepa_world.system.device import resolve_device
from vjepa_world.training.engine.matrix_rate import matmul_gflops, median_seconds

if TYPE_CHECKING:
    from vjepa_world.bench import BenchConfig

COPY_BYTES = 256 * 2**20


@lru_cache
def copy_gbytes_per_s(device: str = "cpu") -> float:
    """Return the measured memory traffic of a large copy, read plus write [GB/s]; cached per process."""
    source = torch.ones(COPY_BYTES // 4, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), device)
    return 2 * COPY_BYTES / seconds / 1e9


def run(config: BenchConfig) -> list[Row]:
    """Return the rates of matrix products, bfloat16 compared with float32, and of copies, torch compared with numpy."""
    device = resolve_device(config.device).type
    half, single = matmul_gflops(torch.bfloat16, device), matmul_gflops(torch.float32, device)
    rows = [row("matmul bfloat16 compared with float32", half, single, "GFLOP/s", limit=max(half, single))]
    if device == "cpu":
        threads, alone = copy_gbytes_per_s(device), _numpy_copy_gbytes_per_s()
        rows.append(row("copy, torch compared with numpy", threads, alone, "GB/s", limit=max(threads, alone)))
    return rows


def _numpy_copy_gbytes_per_s() -> float:
    import numpy as np

    source = np.ones(COPY_BYTES // 4, dtype=np.float32)
    target = np.empty_like(source)
    return 2 * COPY_BYTES / median_seconds(lambda: np.copyto(target, source), "cpu") / 1e9
