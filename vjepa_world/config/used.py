"""Which of the keys that were given a configuration does not use, as its other keys choose.

A dataclass of a configuration may have a method `unused(self) -> Mapping[str, str]`: keys of its own (`lr`, or `env`
for all below it) that it does not use as it is, each with the choice that makes it so ("planner.kind=cem"). One that
is given nevertheless is an error: whoever wrote it believes that it does something.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from vjepa_world.errors import ConfigError


def unused_keys(config: Any, prefix: str = "") -> dict[str, str]:
    """Return the dotted keys of a configuration that it does not use, each with why; a key stands for all below it."""
    found: dict[str, str] = {}
    declared = getattr(config, "unused", None)
    if declared is not None:
        found |= {f"{prefix}{key}": why for key, why in declared().items()}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            found |= unused_keys(value, f"{prefix}{field.name}.")
        elif isinstance(value, Mapping):
            for name, inner in value.items():
                if dataclasses.is_dataclass(inner):
                    found |= unused_keys(inner, f"{prefix}{field.name}.{name}.")
    return found


def refuse_unused(config: Any, given: Iterable[str]) -> None:
    """Refuse keys that were given and that the configuration does not use.

    Raises:
        ConfigError: It names the first of them, the choice that leaves it without a use, and what to do.
    """
    unused = unused_keys(config)
    for key in given:
        for ended, why in unused.items():
            if key == ended or key.startswith(f"{ended}."):
                raise ConfigError(
                    f"'{key}' is given, and {why} does not use it; leave it out, or change that choice."
                )
