"""The number of usable CPU cores, and how OpenMP's threads wait for each other. Free of heavy imports."""

from __future__ import annotations

import os
import sys


def available_cores() -> int:
    """Return the number of cores that this process may use; a container or `taskset` can restrict them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: Variables that configure how OpenMP threads wait: the standard one, GNU's (which torch ships on Linux) and Intel's.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


# Spins of a waiting thread of GNU's OpenMP before it sleeps; GNU's own value if there are more threads than cores.
# Sleeping at once costs a small step 15 % on a quiet machine, this value 2 % (docs/performance.md).
_SPIN_COUNT = "1000"


def spin_briefly() -> None:
    """Let OpenMP's threads sleep soon while they wait for each other, unless the user has configured it.

    By default they spin for a long time. Next to another busy program, the thread that all others wait for may not be
    running, and a step takes several times as long (docs/performance.md). OpenMP reads the variable once, when torch is
    loaded; child processes inherit it. Only GNU's OpenMP, which torch ships on Linux, supports it.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
