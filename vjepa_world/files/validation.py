"""Validation of values from files: typed, finite and within bounds, or an error that names file and field.

JSON, YAML and HDF5 may hold anything: a rate of 0 or "fast", a count of 10^18, NaN, a list instead of a name, a path
to another folder. Each function returns the typed value or raises the given error class; `what` names the field in
messages, file first: "FILE: fps".
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from vjepa_world.errors import DataError, VJEPAWorldError

#: Largest plausible count.
MOST = 10**15

#: Deepest allowed nesting; code that walks through descriptions is recursive.
_DEEPEST = 50

Error = type[VJEPAWorldError]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def whole_number(
    value: object, what: str, *, least: int = 0, most: int = MOST, error: Error = DataError
) -> int:
    """Return an integer. 2.0 is accepted; true and false are not.

    Raises:
        VJEPAWorldError: If it is not an integer, or outside `least` to `most`.
    """
    is_whole = isinstance(value, float) and value.is_integer()
    if isinstance(value, bool) or not (isinstance(value, int) or is_whole) or not least <= value <= most:  # type: ignore[operator]
        raise error(f"{what} is {short(value)}; expected a whole number from {least} to {most}.")
    return int(value)  # type: ignore[call-overload]


def finite_number(
    value: object,
    what: str,
    *,
    least: float = -1e300,
    most: float = 1e300,
    above: float | None = None,
    error: Error = DataError,
) -> float:
    """Return a finite number; true and false are not accepted.

    Args:
        value: The value in the file.
        what: Name of the field, for messages.
        least: Smallest allowed value.
        most: Largest allowed value.
        above: Exclusive lower bound; None for no such bound.
        error: The class to raise.

    Raises:
        VJEPAWorldError: If it is not a number, NaN, infinite or out of bounds.
    """
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if (
        not is_number
        or not least <= value <= most  # type: ignore[operator]
        or (above is not None and not value > above)  # type: ignore[operator]
    ):
        bounds = f"from {least:g} to {most:g}" if above is None else f"above {above:g}, at most {most:g}"
        raise error(f"{what} is {short(value)}; expected a number {bounds}.")
    return float(value)  # type: ignore[arg-type]


def rate(value: object, what: str, *, error: Error = DataError) -> float:
    """Return a rate [1/s]: above 0, and at most a million.

    Raises:
        VJEPAWorldError: If it is not such a number.
    """
    return finite_number(value, what, above=0.0, most=1e6, error=error)


def text(value: object, what: str, *, longest: int = 100_000, error: Error = DataError) -> str:
    """Return a string.

    Raises:
        VJEPAWorldError: If it is not a string, longer than `longest` characters, or has lone surrogates.
    """
    if not isinstance(value, str) or len(value) > longest or _SURROGATE.search(value):
        raise error(f"{what} is {short(value)}; expected a text of at most {longest} characters.")
    return value


def mapping(value: object, what: str, *, error: Error = DataError) -> Mapping[str, Any]:
    """Return a mapping with string keys.

    Raises:
        VJEPAWorldError: If it is not a mapping, or a key is not a string.
    """
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise error(f"{what} is {short(value)}; expected keys with values.")
    return value


def entries(
    value: object, what: str, *, length: int | None = None, most: int = MOST, error: Error = DataError
) -> list[Any]:
    """Return a list.

    Raises:
        VJEPAWorldError: If it is not a list, has another length than `length`, or more entries than `most`.
    """
    if (
        not isinstance(value, list | tuple)
        or len(value) > most
        or (length is not None and len(value) != length)
    ):
        count = f" of {length} entries" if length is not None else ""
        raise error(f"{what} is {short(value)}; expected a list{count}.")
    return list(value)


def inner_name(value: object, what: str, *, error: Error = DataError) -> str:
    """Return a name that may become part of a path: `wrist`, `images/left`.

    Raises:
        VJEPAWorldError: If it is not a string, is empty or absolute, contains `..`, control characters or a backslash.
    """
    name = text(value, what, longest=1000, error=error)
    if (
        _CONTROL.search(name)
        or "\\" in name
        or any(
            part in ("", ".", "..") or len(part.encode(errors="replace")) > 255 for part in name.split("/")
        )
    ):
        raise error(f"{what} is {short(value)}; expected a plain relative name, such as 'left'.")
    return name


def inner_path(root: Path, value: object, what: str, *, error: Error = DataError) -> Path:
    """Return the path of a file that a dataset or checkpoint names, which must lie inside its folder.

    Links inside the folder are followed: a Hugging Face cache consists of them.

    Raises:
        VJEPAWorldError: If it is not a relative path, or leads out of the folder.
    """
    return root / PurePosixPath(inner_name(value, what, error=error))


def read_json_object(path: Path, *, again: str, error: Error = DataError) -> dict[str, Any]:
    """Return the object in a JSON file.

    Args:
        path: The file.
        again: What to do about a broken file, for the message.
        error: The class to raise.

    Raises:
        VJEPAWorldError: If it cannot be read, is not JSON, or is not an object.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as problem:
        raise error(f"{path} is not readable JSON ({problem}). {again}") from problem
    if not isinstance(found, dict):
        raise error(f"{path} holds a {type(found).__name__}, expected a JSON object. {again}")
    if _is_deep(found):
        raise error(f"{path} is nested more than {_DEEPEST} levels deep, which is not allowed. {again}")
    return found


def _is_deep(tree: Any) -> bool:
    level = [tree]
    for _ in range(_DEEPEST):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return False
    return True


def short(value: object, most: int = 60) -> str:
    """Return a value for messages, abbreviated if it is long or deep."""
    if isinstance(value, int) and abs(value) > 10**most:
        return f"a whole number of about {value.bit_length() * math.log10(2):.0f} digits"
    shortened = reprlib.Repr()
    shortened.maxstring = shortened.maxother = most
    shortened.maxlevel = 2
    return shortened.repr(value)
