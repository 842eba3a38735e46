"""Types of command-line arguments: numbers within bounds, refused with a sentence otherwise."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from vjepa_world.config.ranges import LARGEST, LARGEST_FLOAT


def whole_number(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """Return what argparse reads a whole number from `least` to `most` with; 1e4 is one."""

    def read(text: str) -> int:
        number = _number(text, "a whole number", least, most)
        if not number.is_integer():
            raise argparse.ArgumentTypeError(f"got '{text}', expected a whole number from {least} to {most}")
        try:
            return int(text)
        except ValueError:
            return int(number)

    return read


def number(least: float = -LARGEST_FLOAT, most: float = LARGEST_FLOAT) -> Callable[[str], float]:
    """Return what argparse reads a number from `least` to `most` with."""

    def read(text: str) -> float:
        return _number(text, "a number", least, most)

    return read


def _number(text: str, what: str, least: float, most: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value <= most:
        shown = text if len(text) <= 40 else f"{text[:40]}..."
        raise argparse.ArgumentTypeError(f"got '{shown}', expected {what} from {least:.10g} to {most:.10g}")
    return value
