"""Errors of environments that are not ours."""

from __future__ import annotations

import traceback
from pathlib import Path

from vjepa_world.errors import VJEPAWorldError


class EnvironmentFailure(VJEPAWorldError):
    """An environment raised an error, or returned something that cannot be used, while it was running."""


def described(error: BaseException) -> str:
    """Return an error of foreign code in words: its type, its text, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}: {error}"
