"""Values that an environment, or a function of a user, reports: each is checked, since any of them may be wrong.

Legend: S state size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from vjepa_world.environments.errors import EnvironmentFailure


def flag(value: Any, name: str) -> bool:
    """Return a flag: a truth value, or 0 or 1 as some environments have it, also as an array of one.

    Raises:
        EnvironmentFailure: If it is anything else; the text "False" would count as true.
    """
    found = np.asarray(value)
    if found.size == 1 and found.dtype.kind in "biuf" and found.item() in (0, 1):
        return bool(found.item())
    raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed are True and False, or 1 and 0.")


def number(value: Any, name: str) -> float:
    """Return a real number, which may be an array of one; NaN says that it is not known.

    Raises:
        EnvironmentFailure: If it is anything else.
    """
    found = np.asarray(value)
    if found.size == 1 and found.dtype.kind in "biuf":
        return float(found.item())
    raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed is one real number.")


def vector(value: Any, name: str) -> np.ndarray:
    """Return real numbers as a vector, float32 `[S]`.

    Raises:
        EnvironmentFailure: If they are something else, or not finite in float32.
    """
    try:
        found = np.asarray(value).reshape(-1)
    except ValueError as error:  # lists of several lengths
        raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed are real numbers.") from error
    if found.dtype.kind not in "biuf":
        raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed are real numbers.")
    with np.errstate(over="ignore"):
        found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise EnvironmentFailure(f"{name} is not finite: {np.array2string(found, threshold=20)}.")
    return found


def flags(value: Any, name: str) -> tuple[bool, ...]:
    """Return several flags.

    Raises:
        EnvironmentFailure: If it is no list of flags.
    """
    if np.ndim(value) != 1:
        raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed is a list of True and False.")
    return tuple(flag(entry, f"{name}[{index}]") for index, entry in enumerate(value))


def labels(value: Any, name: str) -> dict[str, bool | str | float]:
    """Return labels by name: truth values, texts and finite numbers, as JSON has them.

    Raises:
        EnvironmentFailure: If it is no dictionary of these.
    """
    if not isinstance(value, Mapping):
        raise EnvironmentFailure(f"{name} is {_shown(value)}; allowed is a dictionary of labels.")
    return {str(key): _label(entry, f"{name}['{key}']") for key, entry in value.items()}


def _label(value: Any, name: str) -> bool | str | float:
    if isinstance(value, str):
        return str(value)
    found = np.asarray(value)
    if found.size != 1 or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise EnvironmentFailure(
            f"{name} is {_shown(value)}; allowed are True and False, texts and finite numbers."
        )
    return bool(found.item()) if found.dtype.kind == "b" else float(found.item())


def _shown(value: Any) -> str:
    text = np.array2string(value, threshold=20) if isinstance(value, np.ndarray) else repr(value)
    return f"{text[:80]} ({type(value).__name__})"
