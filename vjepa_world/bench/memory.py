"""How much memory steps take: in a process of its own, since a process's high-water mark never falls."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def rise_gb(step: Callable[[], object], steps: int, device: torch.device) -> float:
    """Return how far memory rises in `steps` calls above the most that was held before them [GB]."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        for _ in range(steps):
            step()
        return (torch.cuda.max_memory_allocated() - before) / 1e9
    held = _high_water_gb()
    for _ in range(steps):
        step()
    return _high_water_gb() - held


def measured_by(module: str, *words: str) -> float:
    """Run a module of ours, which prints what :func:`show_gb` prints, and return the figure [GB]."""
    ended = subprocess.run([sys.executable, "-m", module, *words], capture_output=True, text=True, check=True)
    return float(json.loads(ended.stdout.splitlines()[-1])["gb"])


def show_gb(gb: float) -> None:
    """Print a figure for :func:`measured_by`."""
    print(json.dumps({"gb": gb}))  # noqa: T201


def _high_water_gb() -> float:
    """Return the most memory that this program has held; what getrusage says begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1e6
