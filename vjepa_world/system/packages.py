"""Finds out whether another package hides one of ours, and loads packages that must come before others."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.util
from pathlib import Path

from vjepa_world.errors import InstallationError

#: Top-level packages that are installed next to `vjepa_world`.
SIBLINGS = ("planners", "envs")


@functools.cache
def check_siblings(*names: str) -> None:
    """Check that `import planners` and `import envs` find ours. Nothing is imported.

    Args:
        names: Those to check; all unless given.

    Raises:
        InstallationError: If another package or module of that name is found first.
    """
    home = Path(__file__).resolve().parents[2]
    for name in names or SIBLINGS:
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise InstallationError(f"the package '{name}' is missing from {home}: install vjepa-world again")
        if not Path(spec.origin).resolve().is_relative_to(home / name):
            raise InstallationError(
                f"'import {name}' finds {spec.origin}, which hides the package '{name}' of vjepa-world in {home}. "
                "Rename it, take its folder out of PYTHONPATH, or start the command `vjepa-world` instead of "
                "`python -m vjepa_world`, which searches the current folder first"
            )


def load_triton_before_opengl() -> None:
    """Load triton if it is installed: after Mesa's software renderer, which brings another LLVM, it crashes."""
    with contextlib.suppress(ImportError):
        importlib.import_module("triton")
