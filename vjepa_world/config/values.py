"""Configurations as plain containers: dicts, lists, numbers and texts."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

from vjepa_world.config.schema import dataclass_in, fields_of, registry_in, selected_dataclass
from vjepa_world.errors import ConfigError
from vjepa_world.registry import KIND

MISSING = "???"


def defaults_of(schema: type) -> dict[str, Any]:
    """Return the dataclass's defaults as plain containers, `MISSING` where a field has none."""
    tree: dict[str, Any] = {}
    kinds = fields_of(schema)
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            tree[field.name] = plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            tree[field.name] = _factory_default(field, kinds[field.name])
        else:
            inner = dataclass_in(kinds[field.name])
            tree[field.name] = MISSING if inner is None else defaults_of(inner)
    return tree


def with_defaults(
    schema: type, tree: Mapping[str, Any], base: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a configuration's plain containers laid over defaults.

    Where `kind` selects a dataclass, the defaults are those of the one that `tree` selects.

    Args:
        schema: The configuration's dataclass.
        tree: What is given.
        base: The defaults; None takes those of the dataclass.
    """
    kinds, merged = fields_of(schema), dict(defaults_of(schema) if base is None else base)
    for name, value in tree.items():
        merged[name] = _laid_over(kinds.get(name), merged.get(name, MISSING), value)
    return merged


def without_other_kinds(schema: type, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recorded configuration without options that only other kinds have than the selected one.

    Earlier releases recorded the options of all pretraining objectives, whichever was selected.
    """
    kinds, cleaned = fields_of(schema), dict(tree)
    for name, value in tree.items():
        registry, selected = registry_in(kinds.get(name)), selected_dataclass(kinds.get(name), value)
        if registry is not None and selected is not None:
            known = {key for config in registry.configs().values() for key in fields_of(config)}
            foreign = known - fields_of(selected).keys()
            cleaned[name] = {key: inner for key, inner in value.items() if key not in foreign}
    return cleaned


def _laid_over(kind: Any, below: Any, value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    if registry_in(kind) is not None:
        before = below.get(KIND) if isinstance(below, Mapping) else None
        value = value if before is None else {KIND: before, **value}
        if value.get(KIND) != before:
            selected = selected_dataclass(kind, value)
            below = MISSING if selected is None else defaults_of(selected)
    inner = selected_dataclass(kind, value)
    if not isinstance(below, Mapping):
        return dict(value)
    return overlay(dict(below), dict(value)) if inner is None else with_defaults(inner, value, below)


def _factory_default(field: dataclasses.Field[Any], kind: Any) -> Any:
    # A factory that is the dataclass itself may check in __post_init__ what only the whole configuration settles.
    if field.default_factory is kind and dataclasses.is_dataclass(kind):
        return defaults_of(typing.cast(type, kind))
    factory = typing.cast(typing.Callable[[], Any], field.default_factory)
    return plain(factory())


def plain(value: Any) -> Any:
    """Return a configuration, or any value in one, as containers, numbers and texts that YAML can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value) if field.init
        }
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def overlay(base: dict[str, Any], over: Any) -> dict[str, Any]:
    """Return `base` with the keys of `over` laid over it, level by level."""
    if not isinstance(over, dict):
        raise ConfigError(f"expected keys and values, got {over!r}")
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = overlay(below, value) if both else value  # type: ignore[arg-type]
    return merged


def leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and the value of everything in nested dicts."""
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def shown(value: Any) -> str:
    """Return a value as people write it on the command line."""
    if value == MISSING:
        return "(required)"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float):
        return str(value).replace("e+", "e")
    return str(value).replace(" ", "") if isinstance(value, list) else (str(value) or "''")
