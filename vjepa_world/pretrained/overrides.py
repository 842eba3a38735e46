"""Architecture overrides given by callers: a typed configuration, or a mapping with some of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from vjepa_world.errors import ConfigError, nearest

Overrides = Mapping[str, Any]


def as_overrides(config: Any) -> Overrides:
    """Return the fields of a configuration as a mapping; a mapping is returned as it is, None as an empty one."""
    if is_dataclass(config):
        return {field.name: getattr(config, field.name) for field in fields(config)}
    return config or {}


def check_overrides(schema: type, overrides: Overrides) -> None:
    """Refuse a key that the dataclass `schema` does not have.

    Raises:
        ConfigError: If there is such a key; the message names the nearest field.
    """
    known = [field.name for field in fields(schema)]
    for key in overrides:
        if key not in known:
            raise ConfigError(f"config key '{key}' is not known to {schema.__name__}; {nearest(key, known)}")
