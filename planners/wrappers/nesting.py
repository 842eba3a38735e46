"""Planners that stand around other planners, each in an attribute `planner`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def layers(planner: object) -> Iterator[object]:
    """Yield a planner and those within it, from the outermost to the innermost."""
    yield planner
    while hasattr(planner, "planner"):
        planner = planner.planner
        yield planner


def inside(planner: object, name: str) -> Any:
    """Return an attribute of the outermost planner that has it; None if there is none."""
    return next((getattr(layer, name) for layer in layers(planner) if hasattr(layer, name)), None)
