"""Checks of arguments at run time."""

from __future__ import annotations

import math
import numbers
from typing import Any

from envs.errors import EnvError


def whole_number(name: str, value: object, least: int, most: int = 2**62) -> int:
    """Return an integer from `least` to `most`. NumPy integers are accepted; bools and 64.5 are not.

    Raises:
        EnvError: If it is not an integer, or out of bounds.
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise EnvError(f"{name} {value!r} is not a whole number: use {least} to {most}.")
    number = int(value)
    if not least <= number <= most:
        raise EnvError(f"{name} {number} is out of range: use {least} to {most}.")
    return number


def is_finite(value: object) -> bool:
    """Return whether a value is a finite real number (NumPy's included, bools not)."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def are_finite(values: Any, count: int | None = None) -> bool:
    """Return whether a tuple or list holds only finite real numbers, `count` of them if given."""
    if not isinstance(values, tuple | list) or (count is not None and len(values) != count):
        return False
    return all(map(is_finite, values))
