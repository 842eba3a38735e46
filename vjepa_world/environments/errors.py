"""Errors of environments that are not ours."""

from __future__ import annotations

from vjepa_world.errors import VJEPAWorldError


class EnvironmentFailure(VJEPAWorldError):
    """An environment raised an error, or returned something that cannot be used, while it was running."""
