"""How many processor cores this process may use, and how its threads wait for each other. Free of heavy imports."""

from __future__ import annotations

import os
import sys


def available_cores() -> int:
    """Return the cores this process may run on, which a container or `taskset` can make fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


#: What users set how OpenMP's threads wait with: any OpenMP's, GNU's (which torch ships on Linux) and Intel's.
_WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")


# How often a waiting thread of GNU's OpenMP looks before it sleeps: what GNU itself takes where there are more threads
# than cores. Sleeping at once costs a small step 15 % on a quiet machine, this 2 % (docs/performance.md).
_SPIN_COUNT = "1000"


def spin_briefly() -> None:
    """Let OpenMP's threads soon sleep while they wait for each other, unless the user has said how they are to wait.

    By default they spin for long. Next to another busy program the thread that all wait for is then not even running,
    and a step takes several times as long (docs/performance.md). OpenMP reads this once, when torch is loaded;
    processes that are started later inherit it. Only GNU's OpenMP, which torch ships on Linux, knows the variable.
    """
    if "torch" not in sys.modules and not any(name in os.environ for name in _WAITING):
        os.environ["GOMP_SPINCOUNT"] = _SPIN_COUNT
