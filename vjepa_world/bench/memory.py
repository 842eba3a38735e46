"""Peak memory of steps, measured in a separate process because a process's high-water mark never falls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_rise_gb(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return the rise of peak memory in `steps` calls [GB]."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(steps):
            step()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    peak = _high_water_gb()
    for _ in range(steps):
        step()
    return _high_water_gb() - peak


def measured_in_process(module: str, *arguments: str) -> float:
    """Run a module of ours that ends with :func:`print_gb`, and return its result [GB]."""
    finished = subprocess.run(
        [sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=True
    )
    return float(json.loads(finished.stdout.splitlines()[-1])["gb"])


def print_gb(gb: float) -> None:
    """Print a result for :func:`measured_in_process`."""
    print(json.dumps({"gb": gb}))  # noqa: T201


def _high_water_gb() -> float:
    """Return this program's peak memory [GB]; getrusage would include its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e6
