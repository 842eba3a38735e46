"""Access to wrapped planners: a wrapper holds its inner planner in the attribute `planner`."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from planners.protocols import Planner


def unwrap(planner: object) -> Iterator[object]:
    """Yield a planner and the planners that it wraps, from the outermost to the innermost."""
    yield planner
    while hasattr(planner, "planner"):
        planner = planner.planner
        yield planner


def find_attribute(planner: object, name: str) -> Any:
    """Return an attribute of the outermost wrapped planner that has it; None if none has it."""
    return next((getattr(layer, name) for layer in unwrap(planner) if hasattr(layer, name)), None)


def fresh_copy(planner: Planner) -> Planner:
    """Return a planner with the same options and model, and with no memory of problems: for another batch of them."""
    made = copy.copy(planner)
    if hasattr(made, "planner"):
        made.planner = fresh_copy(made.planner)
    made.reset()
    return made


def select_problems(planner: object, problems: Sequence[int]) -> None:
    """Continue with some problems of the batch alone, in every wrapper that remembers the batch (it has `select`)."""
    for layer in unwrap(planner):
        if hasattr(layer, "select"):
            layer.select(problems)
