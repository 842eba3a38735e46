"""Invalid values for untrusted JSON, and every JSON object with one value replaced by each of them."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

HOSTILE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    2.5,
    10**7,
    10**30,
    1e300,
    math.nan,
    math.inf,
    "",
    "../../../etc/passwd",
    "x" * 5000,
    "\x00\ud800{}",
    [],
    [1, [2, "a"]],
    {},
    {"a": 1},
)


def positions(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where each value of nested dictionaries and lists is, inner nodes included."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from positions(value, (*path, key))


def replaced(tree: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return a copy of `tree` with the value at `path` replaced."""
    changed = copy.deepcopy(tree)
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def mutations(tree: Any) -> Iterator[tuple[str, Any]]:
    """Yield a description of the change, and `tree` with one value replaced, for each value and each of `HOSTILE`."""
    for path in positions(tree):
        for value in HOSTILE:
            yield f"{'.'.join(map(str, path))}={str(value)[:30]!r}", replaced(tree, path, value)
