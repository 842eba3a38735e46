"""Builds a dataclass out of plain containers, strictly: every value in its type or an error that names its key."""

from __future__ import annotations

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from vjepa_world.config.ranges import LARGEST, LARGEST_FLOAT
from vjepa_world.config.schema import fields_of, help_of, is_union
from vjepa_world.config.values import MISSING, shown
from vjepa_world.errors import ConfigError, nearest


def build(kind: Any, value: Any, key: str, source: str) -> Any:
    """Return `value` as an instance of the annotation `kind`; `key` is where it stands."""
    if isinstance(value, str) and value == MISSING:
        raise ConfigError(f"'{key}' is not given and has no default: give {key}=VALUE")
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), value, key, source)
    if is_union(kind):
        return _build_union(kind, value, key, source)
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _build_choice({str(choice): choice for choice in typing.get_args(kind)}, value, key)
    if origin in (tuple, list, dict) or kind in (tuple, list, dict):
        return _build_container(kind, value, key, source)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _build_choice({str(member.value): member for member in kind}, value, key)
    return _build_scalar(kind, value, key)


def _build_dataclass(schema: type, value: Any, key: str, source: str) -> Any:
    if dataclasses.is_dataclass(value) and isinstance(value, schema):
        return value
    if not isinstance(value, Mapping):
        raise ConfigError(f"'{key}' got {value!r}, expected the keys {', '.join(fields_of(schema))}")
    prefix = f"{key}." if key else ""
    kinds = fields_of(schema)
    for name in value:
        if name not in kinds:
            raise ConfigError(f"{source}: unknown key '{prefix}{name}'; {nearest(str(name), kinds)}")
    built = {}
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        found = value.get(field.name, MISSING)
        if isinstance(found, str) and found == MISSING:
            if field.name not in value and _has_default(field):
                continue
            raise ConfigError(_not_given(schema, field, prefix + field.name))
        built[field.name] = build(kinds[field.name], found, prefix + field.name, source)
        _check_range(built[field.name], field, prefix + field.name)
    try:
        return schema(**built)
    except ValueError as error:
        raise ConfigError(f"'{key}': {error}" if key else str(error)) from error


def _check_range(value: Any, field: dataclasses.Field[Any], key: str) -> None:
    """Refuse numbers that no machine works through; a field may say its own range (`vjepa_world.config.ranges`)."""
    for number in value if isinstance(value, list | tuple) else [value]:
        if isinstance(number, bool) or not isinstance(number, int | float):
            continue
        usual = (-LARGEST, LARGEST) if isinstance(number, int) else (-LARGEST_FLOAT, LARGEST_FLOAT)
        low, high = field.metadata.get("range", usual)
        if not low <= number <= high:
            raise ConfigError(f"'{key}' got {str(number)[:40]}, expected a number from {low} to {high}")


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _not_given(schema: type, field: dataclasses.Field[Any], key: str) -> str:
    meaning = help_of(schema, field.name)
    example = field.metadata.get("example", "VALUE")
    return f"'{key}' is not given and has no default: give {key}={example}" + (
        f" ({meaning})" if meaning else ""
    )


def _build_union(kind: Any, value: Any, key: str, source: str) -> Any:
    arms = typing.get_args(kind)
    if value is None and type(None) in arms:
        return None
    arms = tuple(arm for arm in arms if arm is not type(None))
    if len(arms) == 1:
        return build(arms[0], value, key, source)
    exact = [arm for arm in arms if type(value) is arm]
    for arm in [*exact, *arms]:
        try:
            return build(arm, value, key, source)
        except ConfigError:
            continue
    raise ConfigError(_wrong(key, value, " or ".join(_type_name(arm) for arm in arms)))


def _build_choice(choices: Mapping[str, Any], value: Any, key: str) -> Any:
    if str(value) in choices:
        return choices[str(value)]
    hint = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.4)
    meant = f"did you mean '{hint[0]}'? " if hint else ""
    raise ConfigError(f"'{key}' got {value!r}; {meant}Allowed: {', '.join(choices)}.")


def _build_container(kind: Any, value: Any, key: str, source: str) -> Any:
    origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ConfigError(_wrong(key, value, _type_name(kind)))
        inner = arguments[1] if arguments else Any
        return {str(name): build(inner, item, f"{key}.{name}", source) for name, item in value.items()}
    if not isinstance(value, list | tuple):
        raise ConfigError(_wrong(key, value, _type_name(kind)))
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ConfigError(_wrong(key, list(value), f"{len(arguments)} entries, {_type_name(kind)}"))
        kinds: Sequence[Any] = arguments
    else:
        kinds = [arguments[0] if arguments else Any] * len(value)
    return origin(
        build(inner, item, f"{key}[{index}]", source)
        for index, (inner, item) in enumerate(zip(kinds, value, strict=True))
    )


def _build_scalar(kind: Any, value: Any, key: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number and abs(value) <= LARGEST_FLOAT:
        return float(value)
    if kind is float and is_number:
        raise ConfigError(_wrong(key, value, f"a number from -{LARGEST_FLOAT:g} to {LARGEST_FLOAT:g}"))
    if kind is int and is_number and (isinstance(value, int) or value.is_integer()):
        return int(value)  # 1e4 is how people write a number of steps
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(f"'{key}' got {value!r}, expected a text without NUL characters")
    if kind in (str, bool) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is type(None) and value is None:
        return None
    raise ConfigError(_wrong(key, value, _type_name(kind)))


def _wrong(key: str, value: Any, expected: str) -> str:
    return f"'{key}' got {shown(value)!r}, expected {expected}"


def _type_name(kind: Any) -> str:
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    if kind in names:
        return names[kind]
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return "[" + ", ".join(_type_name(argument) for argument in arguments) + "]"
    if origin in (tuple, list):
        return f"a list [{_type_name(arguments[0])}, ...]"
    return str(getattr(kind, "__name__", kind)) if origin is None else str(kind)
