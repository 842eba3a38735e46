"""How success rates, their intervals and differences, and distances are written in tables and pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def percent(rate: Mapping[str, Any] | None) -> str:
    """Return a success rate, such as '94 %'; '-' without one."""
    return "-" if rate is None else f"{100 * rate['success_rate']:.0f} %"


def percent_interval(rate: Mapping[str, Any], to: str = " - ") -> str:
    """Return the interval of a success rate in percent without the sign, such as '88 - 97'."""
    return f"{100 * rate['wilson_low']:.0f}{to}{100 * rate['wilson_high']:.0f}"


def points(difference: Mapping[str, Any] | None) -> str:
    """Return a difference of success rates and its interval in points, such as '+3 (-1 to +8)'; '-' without one."""
    if difference is None:
        return "-"
    low, high = difference["interval"]
    return f"{100 * difference['value']:+.0f} ({100 * low:+.0f} to {100 * high:+.0f})"


def distance_text(value: float | None) -> str:
    """Return a distance to the goal in the environment's unit."""
    return "not known" if value is None else f"{value:.3f}"
