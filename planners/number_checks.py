"""Checks of numbers and choices that options share. Each error says what was got, what is allowed and what to do.

Free of torch and NumPy, so that a program that only shows options starts quickly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeVar

from planners.errors import PlannerError

Choice = TypeVar("Choice", bound=str)


def is_number(got: object) -> bool:
    """Return whether a value is a real number of Python or NumPy; a bool or a tensor is not."""
    return isinstance(got, Real) and not isinstance(got, bool)


def to_python(got: Any) -> Any:
    """Return a tensor or an array as Python numbers, in nested lists if it has axes; any other value unchanged."""
    return got.tolist() if hasattr(got, "tolist") else got


def is_sequence(got: object) -> bool:
    """Return whether a value is a list, a tuple or another sequence, but not a text."""
    return isinstance(got, Sequence) and not isinstance(got, str | bytes)


def check_count(name: str, got: int, *, most: int | None = None, most_name: str = "") -> int:
    """Return `got` if it is a whole number from 1 to `most`."""
    allowed = "a whole number of at least 1" + (
        f" and at most {most_name}={most}" if most is not None else ""
    )
    if isinstance(got, bool) or not isinstance(got, int) or got < 1 or (most is not None and got > most):
        raise PlannerError(f"{name} is {got!r}; allowed is {allowed}. Change {name}.")
    return got


def check_fractions(name: str, got: Any, size: int | None = None) -> tuple[float, ...]:
    """Return fractions in [0, 1] as a tuple.

    Args:
        name: The option.
        got: A number, or a list, tensor or array of numbers, one for each action axis.
        size: A, the number of action axes: a single number is repeated A times. None if it is not known yet.
    """
    read = to_python(got)
    numbers = tuple(map(to_python, read)) if is_sequence(read) else (read,) * (size or 1)
    fits = size is None or len(numbers) == size
    if not fits or not numbers or not all(is_number(n) and 0.0 <= n <= 1.0 for n in numbers):
        axes = "each action axis" if size is None else f"each of the model's {size} action axes"
        raise PlannerError(
            f"{name} is {got!r}; allowed is a number in [0, 1], or one for {axes}. Change {name}."
        )
    return numbers


def check_fraction(name: str, got: float) -> float:
    """Return `got` if it is a number in [0, 1]."""
    if not (is_number(got) and 0 <= got <= 1):
        raise PlannerError(f"{name} is {got!r}; allowed is a number in [0, 1]. Change {name}.")
    return got


def check_positive_fraction(name: str, got: float) -> float:
    """Return `got` if it is above 0 and at most 1."""
    if not (is_number(got) and 0 < got <= 1):
        raise PlannerError(f"{name} is {got!r}; allowed is a number above 0 and at most 1. Change {name}.")
    return got


def check_positive(name: str, got: float) -> float:
    """Return `got` if it is finite and above 0."""
    if not (is_number(got) and math.isfinite(got) and got > 0):
        raise PlannerError(f"{name} is {got!r}; allowed is a finite number above 0. Change {name}.")
    return got


def check_at_least(name: str, got: float, least: float) -> float:
    """Return `got` if it is finite and at least `least`."""
    if not (is_number(got) and math.isfinite(got) and got >= least):
        raise PlannerError(
            f"{name} is {got!r}; allowed is a finite number of at least {least:g}. Change {name}."
        )
    return got


def check_choice(name: str, got: Choice, allowed: Sequence[Choice]) -> Choice:
    """Return `got` if it is one of `allowed`."""
    if not isinstance(got, str) or got not in allowed:
        raise PlannerError(
            f"{name} is {got!r}; allowed are {', '.join(map(repr, allowed))}. Choose one of them."
        )
    return got
