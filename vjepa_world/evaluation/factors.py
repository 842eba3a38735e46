"""The values of a scene factor as labels, by which results are broken down."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: A factor that is a number with more different values than this is divided into thirds.
MOST_VALUES = 5


def factor_labels(values: Sequence[bool | str | float]) -> list[str]:
    """Return the values of a factor as text; of many different numbers, the third that each lies in."""
    numbers = [value for value in values if isinstance(value, float)]
    if len(numbers) < len(values) or len(set(numbers)) <= MOST_VALUES:
        return [_label(value) for value in values]
    low, high = np.quantile(numbers, [1 / 3, 2 / 3])
    names = (f"up to {low:.3g}", f"{low:.3g} to {high:.3g}", f"above {high:.3g}")
    return [names[int(number > low) + int(number > high)] for number in numbers]


def _label(value: bool | str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else value


def labels_in_order(labels: Sequence[str]) -> list[str]:
    """Return different labels: thirds from low to high, others by the alphabet."""
    rank = {"up": 0, "above": 2}
    if any(label.startswith("up to ") for label in labels):
        return sorted(set(labels), key=lambda label: rank.get(label.split()[0], 1))
    return sorted(set(labels))
