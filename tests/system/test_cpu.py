"""OpenMP threads spin only briefly unless the user configured it, in this process and its children."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.paths import REPO

WAITING = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")

#: What a worker process finds, and what OpenMP itself says that it has read.
CODE = """
import os, subprocess, sys
import {first}
import {second}
print(subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('GOMP_SPINCOUNT'))"],
                     capture_output=True, text=True).stdout.strip())
"""


def waiting(first: str, second: str, **environment: str) -> tuple[str, str]:
    """Return the spin count of a process that the program starts, and OpenMP's own report of its own."""
    clean = {name: value for name, value in os.environ.items() if name not in WAITING}
    done = subprocess.run(
        [sys.executable, "-c", CODE.format(first=first, second=second)],
        env={**clean, "PYTHONPATH": str(REPO), "OMP_DISPLAY_ENV": "verbose", **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    report = [line for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    return done.stdout.strip(), report[0].split("=")[1].strip(" '") if report else ""


def test_waiting_openmp_threads_sleep_soon() -> None:
    count, report = waiting("vjepa_world", "torch")
    assert count == "1000"
    assert report in ("1000", "")  # not every OpenMP reports


@pytest.mark.parametrize("name", WAITING)
def test_environment_variables_of_the_user_are_respected(name: str) -> None:
    value = "ACTIVE" if name == "OMP_WAIT_POLICY" else "70000"
    count, _ = waiting("vjepa_world", "torch", **{name: value})
    assert count == ("70000" if name == "GOMP_SPINCOUNT" else "None")


def test_an_imported_torch_is_left_unchanged() -> None:
    assert waiting("torch", "vjepa_world")[0] == "None"
