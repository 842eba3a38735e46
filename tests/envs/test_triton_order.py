"""Triton, which comes with the CUDA builds of torch, and Mesa's renderer work in one process."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.paths import REPO

RENDER_THEN_TRITON = """
import gymnasium, envs
gymnasium.make("vjepa_world/Reach-v0", image_size=64).reset(seed=0)
import triton
"""


def test_triton_loads_after_an_image_was_rendered() -> None:
    pytest.importorskip("triton")
    done = subprocess.run(
        [sys.executable, "-c", RENDER_THEN_TRITON], cwd=REPO, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr  # negative: ended by a signal
