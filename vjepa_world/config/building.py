"""Builds a dataclass out of plain containers. pydantic validates; its errors become sentences that name the key.

pydantic reads the annotations of the dataclasses as they are, which need not know it. Its schema of them is made
stricter: no further keys, no text or truth value for a number, the ranges of the fields' metadata
(:mod:`vjepa_world.config.ranges`). A whole number may be written 1e4.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vjepa_world.config.ranges import LARGEST, LARGEST_FLOAT
from vjepa_world.config.schema import dataclass_in, fields_of, help_of, is_union, registry_in, without_none
from vjepa_world.config.values import MISSING, shown
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.registry import KIND, registrations

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails, SchemaValidator


def build(kind: Any, value: Any, key: str, source: str) -> Any:
    """Return a value as an instance of an annotation.

    Args:
        kind: The annotation: a dataclass, or whatever a field of one may be.
        value: Dicts, lists, numbers and texts. An instance of a dataclass is taken as it is.
        key: Dotted key of the value, as errors name it; empty for the whole configuration.
        source: Where the value is from, for errors about unknown keys.

    Raises:
        ConfigError: It names the first key that is unknown, else the first with a value that is not allowed, else the
            first that is missing.
    """
    from pydantic_core import ValidationError

    try:
        return _validator(kind, registrations()).validate_python(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = min(details, key=lambda detail: _order(detail, _located(detail, kind, value, key)[0]))
        raise ConfigError(_sentence(first, kind, value, key, source)) from error


@functools.lru_cache(maxsize=64)
def _validator(kind: Any, registered: int) -> SchemaValidator:
    """Return the validator of an annotation; rebuilt when `registered`, the number of registrations, changes."""
    from pydantic import TypeAdapter
    from pydantic_core import SchemaValidator

    return SchemaValidator(_strict(TypeAdapter(kind).core_schema, {}))


def _strict(node: Any, metadata: Mapping[str, Any]) -> Any:
    """Return a pydantic schema without conversions between types; `metadata` is that of the field which holds it."""
    if isinstance(node, list):
        return [_strict(entry, metadata) for entry in node]
    if not isinstance(node, dict):
        return node
    kind = node.get("type")
    if kind == "int":
        low, high = metadata.get("range", (-LARGEST, LARGEST))
        numbers = {"type": "int", "strict": True, "ge": low, "le": high}
        return {
            "type": "function-before",
            "function": {"type": "no-info", "function": _whole},
            "schema": numbers,
        }
    if kind == "float":
        low, high = metadata.get("range", (-LARGEST_FLOAT, LARGEST_FLOAT))
        return {"type": "float", "strict": True, "ge": low, "le": high, "allow_inf_nan": False}
    if kind == "bool":
        return {"type": "bool", "strict": True}
    if kind == "str":  # pydantic's texts are UTF-8, and names of files need not be
        text = {"type": "is-instance", "cls": str}
        return {
            "type": "function-after",
            "function": {"type": "no-info", "function": _given_text},
            "schema": text,
        }
    if kind == "dataclass":
        fields = {field.name: field for field in dataclasses.fields(node["cls"])}
        arguments = node["schema"]
        inner = [
            {**field, "schema": _strict(field["schema"], fields[field["name"]].metadata)}
            for field in arguments["fields"]
        ]
        return {**node, "schema": {**arguments, "fields": inner, "extra_behavior": "forbid"}}
    return {name: _strict(value, metadata) for name, value in node.items()}


def _whole(value: Any) -> Any:
    """Return a number without a fraction as an int: 1e4 is how people write a number of steps."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _given_text(text: str) -> str:
    if text == MISSING or "\0" in text:
        raise ValueError("missing, or with a NUL character")
    return text


@dataclasses.dataclass(frozen=True)
class _Location:
    """Where a configuration is wrong.

    Attributes:
        kind: The annotation.
        value: The value given, `MISSING` if there is none.
        key: The dotted key.
        owner: The dataclass whose field it is, or is in; None for the whole configuration.
        field: That field's name.
    """

    kind: Any
    value: Any
    key: str
    owner: type | None = None
    field: str = ""

    @property
    def is_missing(self) -> bool:
        """Whether neither the YAML nor the command line gives a value."""
        return isinstance(self.value, str) and self.value == MISSING

    def at(self, step: int | str) -> _Location | None:
        """Return the location one step of pydantic's path further; None where the step is one of its own labels."""
        kind = without_none(self.kind)
        registry = registry_in(kind)
        if registry is not None:
            return dataclasses.replace(self, kind=registry.config(str(step)))
        schema, origin = dataclass_in(kind), typing.get_origin(kind) or kind
        if schema is not None:
            value = self.value.get(step, MISSING) if isinstance(self.value, Mapping) else MISSING
            key = f"{self.key}.{step}" if self.key else str(step)
            return _Location(fields_of(schema).get(str(step)), value, key, schema, str(step))
        arguments = typing.get_args(kind)
        if origin is dict and arguments:
            return dataclasses.replace(
                self, kind=arguments[1], value=self.value[step], key=f"{self.key}.{step}"
            )
        if origin in (tuple, list) and arguments and isinstance(step, int):
            inner = arguments[step] if len(arguments) > step and Ellipsis not in arguments else arguments[0]
            if step >= len(self.value):
                return None
            return dataclasses.replace(self, kind=inner, value=self.value[step], key=f"{self.key}[{step}]")
        return None


def _located(error: ErrorDetails, kind: Any, value: Any, key: str) -> tuple[_Location, _Location]:
    """Return the location of an error, and the one that contains it."""
    here, owner = _Location(kind, value, key), _Location(kind, value, key)
    for step in error["loc"]:
        inner = here.at(step)
        if inner is None:
            break
        owner, here = here, inner
    return here, owner


def _order(error: ErrorDetails, here: _Location) -> int:
    """Return the order in which errors are reported: unknown keys, values that are not allowed, missing keys."""
    if error["type"] == "unexpected_keyword_argument":
        return 0
    return 2 if here.is_missing else 1


def _sentence(error: ErrorDetails, kind: Any, value: Any, key: str, source: str) -> str:
    """Return what is wrong, with the key, what was got and what is allowed."""
    here, owner = _located(error, kind, value, key)
    if error["type"] == "unexpected_keyword_argument":
        return _unknown(owner, here.field, source)
    if here.is_missing:
        return _not_given(here)
    if error["type"] == "value_error" and dataclass_in(here.kind) is not None:
        reason = error["ctx"]["error"]
        return f"'{here.key}': {reason}" if here.key else str(reason)
    return _not_allowed(error["type"], here)


def _unknown(owner: _Location, name: str, source: str) -> str:
    key = f"{owner.key}.{name}" if owner.key else name
    schema = typing.cast(type, dataclass_in(without_none(owner.kind)))
    kinds = fields_of(schema)
    selected = owner.value.get(KIND) if KIND in kinds else None
    if selected is not None:
        kinds.pop(KIND)
        return (
            f"'{key}' is given, and {owner.key}.{KIND}={selected} does not use it; leave it out, or select "
            f"another {owner.key}.{KIND}. {nearest(name, kinds, begins_sentence=True)}"
        )
    return f"{source}: unknown key '{key}'; {nearest(name, kinds)}"


def _not_given(here: _Location) -> str:
    meaning, example = "", "VALUE"
    if here.owner is not None:
        meaning = help_of(here.owner, here.field)
        fields = {field.name: field for field in dataclasses.fields(here.owner)}
        example = fields[here.field].metadata.get("example", "VALUE")
    text = f"'{here.key}' is not given and has no default: give {here.key}={example}"
    return f"{text} ({meaning})" if meaning else text


def _not_allowed(error: str, here: _Location) -> str:
    """Return the sentence about a value that its annotation does not allow."""
    kind = without_none(here.kind)
    registry, schema = registry_in(kind), dataclass_in(kind)
    if registry is not None:
        kinds = list(registry.configs())
        if isinstance(here.value, Mapping) and KIND in here.value:
            got = here.value[KIND]
            if got in registry:
                registry.config(got)  # one that cannot be imported says why
            return f"'{here.key}.{KIND}' got {got!r}; {nearest(str(got), kinds)}"
        return f"'{here.key}' got {here.value!r}, expected {here.key}.{KIND}, one of {', '.join(kinds)}"
    if schema is not None:
        return f"'{here.key}' got {here.value!r}, expected the keys {', '.join(fields_of(schema))}"
    if error in ("literal_error", "enum"):
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else [m.value for m in kind]
        return (
            f"'{here.key}' got {here.value!r}; {nearest(str(here.value), map(str, choices), in_order=True)}"
        )
    if isinstance(here.value, str) and "\0" in here.value:
        return f"'{here.key}' got {here.value!r}, expected a text without NUL characters"
    if error in ("greater_than_equal", "less_than_equal", "finite_number") and not is_union(kind):
        low, high = _range(here)
        return f"'{here.key}' got {shown(here.value)[:40]}, expected a number from {low} to {high}"
    expected = _type_name(kind)
    arguments = typing.get_args(kind)
    if (
        typing.get_origin(kind) is tuple
        and Ellipsis not in arguments
        and isinstance(here.value, list | tuple)
    ):
        return _wrong(here.key, list(here.value), f"{len(arguments)} entries, {expected}")
    return _wrong(here.key, here.value, expected)


def _range(here: _Location) -> tuple[float, float]:
    usual = (-LARGEST, LARGEST) if without_none(here.kind) is int else (-LARGEST_FLOAT, LARGEST_FLOAT)
    if here.owner is None:
        return usual
    fields = {field.name: field for field in dataclasses.fields(here.owner)}
    found: tuple[float, float] = fields[here.field].metadata.get("range", usual)
    return found


def _wrong(key: str, value: Any, expected: str) -> str:
    text = repr(shown(value))
    return f"'{key}' got {text if len(text) <= 200 else text[:200] + '...'}, expected {expected}"


def _type_name(kind: Any) -> str:
    """Return an annotation in words."""
    names = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    if kind in names:
        return names[kind]
    arguments = typing.get_args(kind)
    origin = typing.get_origin(kind)
    if is_union(kind):
        return " or ".join(_type_name(arm) for arm in arguments)
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return "[" + ", ".join(_type_name(argument) for argument in arguments) + "]"
    if origin in (tuple, list):
        return f"a list [{_type_name(arguments[0])}, ...]"
    if origin is dict or kind is dict:
        return "keys and values {NAME: VALUE, ...}"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "one of " + ", ".join(str(member.value) for member in kind)
    return str(getattr(kind, "__name__", kind)) if origin is None else str(kind)
