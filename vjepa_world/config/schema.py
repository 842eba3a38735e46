"""Questions to a schema, a tree of dataclasses: which keys it has, of which type, and what they mean."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union


def unknown_key(key: str, schema: type, groups: Mapping[str, str]) -> str:
    """Return the sentence that names a key that is none, the nearest that is one, and those beside it."""
    known = list(dict.fromkeys([*keys_of(schema, ""), *groups]))
    last = key.rsplit(".", 1)[-1]
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == last]
    by_path = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    by_end = [
        name for name in known if difflib.get_close_matches(last, [name.rsplit(".", 1)[-1]], cutoff=0.6)
    ]
    best = difflib.get_close_matches(key, same_end, n=1, cutoff=0.0) or by_path or by_end[:1]
    hint = f"did you mean '{best[0]}'? " if best else ""
    parent = key.rsplit(".", 1)[0] + "."
    siblings = [name for name in known if name.startswith(parent)] if "." in key else []
    return f"unknown key '{key}'; {hint}Allowed: {', '.join(siblings or known)}."


def keys_of(schema: type, prefix: str) -> Iterator[str]:
    """Yield every dotted key of the schema that holds a value."""
    for name, kind in fields_of(schema).items():
        inner, keyed = dataclass_in(kind), _dataclass_by_name(kind)
        if keyed is not None:
            yield from keys_of(keyed, f"{prefix}{name}.NAME.")
        elif inner is None:
            yield prefix + name
        else:
            yield from keys_of(inner, f"{prefix}{name}.")


def top_level(schema: type, groups: Mapping[str, str]) -> list[str]:
    """Return the first words that a key may begin with, groups among them."""
    return list(dict.fromkeys([*fields_of(schema), *groups]))


def type_at(schema: type, key: str) -> Any | None:
    """Return the annotation at a dotted key (the dataclass itself for a set of keys); None if there is none."""
    kind: Any = schema
    for part in key.split("."):
        inner = dataclass_in(kind)
        if inner is not None:
            kind = fields_of(inner).get(part)
            if kind is None:
                return None
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return None
    inner = dataclass_in(kind)
    return kind if inner is None or type(None) in typing.get_args(kind) else inner


def fields_of(schema: type) -> dict[str, Any]:
    """Return the annotation of every field, resolved."""
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema) if field.init}


def dataclass_in(kind: Any) -> Any | None:
    """Return the dataclass that an annotation `D` or `D | None` holds."""
    if dataclasses.is_dataclass(kind):
        return kind
    if is_union(kind):
        return next((arm for arm in typing.get_args(kind) if dataclasses.is_dataclass(arm)), None)
    return None


def _dataclass_by_name(kind: Any) -> Any | None:
    """Return the dataclass that an annotation `dict[str, D]` holds."""
    return dataclass_in(typing.get_args(kind)[1]) if typing.get_origin(kind) is dict else None


def is_union(kind: Any) -> bool:
    """Say whether an annotation is `X | Y`."""
    return typing.get_origin(kind) in (Union, types.UnionType)


def is_text(kind: Any) -> bool:
    """Say whether every value that the annotation allows is written as a text (or is None)."""
    if is_union(kind):
        return all(arm is type(None) or is_text(arm) for arm in typing.get_args(kind))
    if typing.get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(kind))
    return kind is str or (isinstance(kind, type) and issubclass(kind, Path | Enum))


def help_of(schema: type, key: str) -> str:
    """Return what the docstring of the key's dataclass, or of one it is made from, says of it, on one line."""
    *parents, last = key.split(".")
    kind: Any = schema
    for parent in parents:
        inner = dataclass_in(kind)
        if inner is None:
            return ""
        kind = fields_of(inner).get(parent)
    owner = dataclass_in(kind)
    for described in (
        owner.__mro__ if owner is not None else ()
    ):  # a key that is inherited is described where it is from
        documentation = inspect.getdoc(described) or ""
        found = re.search(rf"^( +){re.escape(last)}: (.*(?:\n\1 +.*)*)$", documentation, flags=re.MULTILINE)
        if found:
            return " ".join(found.group(2).split()).rstrip(".")
    return ""
