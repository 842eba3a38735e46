"""How many processor cores this process may use. Free of heavy imports."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return the cores this process may run on, which a container or `taskset` can make fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
