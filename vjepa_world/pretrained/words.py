"""Architectures as callers give them: a typed configuration, or a dictionary of the same words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from vjepa_world.errors import ConfigError, nearest

Words = Mapping[str, Any]


def as_words(config: Any) -> Words:
    """Return the words of a configuration; those of a dictionary are its own, and None has none."""
    if is_dataclass(config):
        return {field.name: getattr(config, field.name) for field in fields(config)}
    return config or {}


def check_words(schema: type, words: Words) -> None:
    """Refuse a word that the dataclass `schema` does not have.

    Raises:
        ConfigError: With the nearest known one.
    """
    known = [field.name for field in fields(schema)]
    for word in words:
        if word not in known:
            raise ConfigError(
                f"config word '{word}' is not known to {schema.__name__}; {nearest(word, known)}"
            )
