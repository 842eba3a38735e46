"""Checks of arguments, for callers whose types nobody has checked."""

from __future__ import annotations

import math
import numbers
from typing import Any

from envs.errors import EnvError


def whole_number(name: str, value: object, least: int, most: int = 2**62) -> int:
    """Return a whole number from `least` to `most`; NumPy's are some, true and 64.5 are none.

    Raises:
        EnvError: If it is none, or out of bounds.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise EnvError(f"{name} {value!r} is no whole number: use {least} to {most}.")
    number = int(value)
    if not least <= number <= most:
        raise EnvError(f"{name} {number} is out of range: use {least} to {most}.")
    return number


def is_finite(value: object) -> bool:
    """Say whether a value is a finite real number; NumPy's are some, true is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def are_finite(values: Any, count: int | None = None) -> bool:
    """Say whether a tuple or list holds finite real numbers alone, `count` of them where that is given."""
    if not isinstance(values, tuple | list) or (count is not None and len(values) != count):
        return False
    return all(map(is_finite, values))
