"""Questions to a schema, a tree of dataclasses: which keys it has, of which type, and what they mean."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from vjepa_world.errors import with_hint
from vjepa_world.registry import KIND, Registry

#: An error lists up to so many keys, and of more only the few nearest.
_MOST_LISTED, _FEW = 24, 8


def unknown_key(key: str, schema: type, groups: Mapping[str, str]) -> str:
    """Return the sentence that names an unknown key, the nearest known one and its siblings (of many the nearest).

    A schema may have a class attribute `moved`: keys of earlier releases, each with a sentence about where it is now.
    """
    moved = getattr(schema, "moved", {}).get(key.split(".")[0])
    if moved is not None:
        return f"unknown key '{key}'; {moved}"
    known = list(dict.fromkeys([*keys_of(schema, ""), *groups]))
    last = key.rsplit(".", 1)[-1]
    same_end = [name for name in known if name.rsplit(".", 1)[-1] == last]
    by_path = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    by_end = [
        name for name in known if difflib.get_close_matches(last, [name.rsplit(".", 1)[-1]], cutoff=0.6)
    ]
    best = difflib.get_close_matches(key, same_end, n=1, cutoff=0.0) or by_path or by_end[:1]
    parent = key.rsplit(".", 1)[0] + "."
    siblings = [name for name in known if name.startswith(parent)] if "." in key else []
    return f"unknown key '{key}'; {with_hint(best[0] if best else None, _listed(key, siblings or known))}"


def _listed(key: str, allowed: Sequence[str]) -> str:
    """Return the allowed keys; of a long list those nearest to `key`, and how to see all."""
    if len(allowed) <= _MOST_LISTED:
        return ", ".join(allowed)

    def similarity(name: str) -> float:
        pairs = ((key, name), (key.rsplit(".", 1)[-1], name.rsplit(".", 1)[-1]))
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

    nearest_ones = sorted(allowed, key=similarity, reverse=True)[:_FEW]
    return f"{', '.join(nearest_ones)}, and {len(allowed) - _FEW} more (see --help-all)"


def keys_of(schema: type, prefix: str) -> Iterator[str]:
    """Yield every dotted key of the schema that holds a value; where `kind` selects, those of all kinds."""
    for name, kind in fields_of(schema).items():
        by_name = typing.get_args(kind)[1] if typing.get_origin(kind) is dict else None
        inner = dataclasses_in(kind) or dataclasses_in(by_name)
        below = f"{prefix}{name}.NAME." if dataclasses_in(by_name) else f"{prefix}{name}."
        if not inner:
            yield prefix + name
        yield from dict.fromkeys(key for option in inner for key in keys_of(option, below))


def top_level(schema: type, groups: Mapping[str, str]) -> list[str]:
    """Return the first words that a key may begin with, groups among them."""
    return list(dict.fromkeys([*fields_of(schema), *groups]))


def type_at(schema: type, key: str) -> Any | None:
    """Return the annotation at a dotted key (the dataclass itself for a set of keys); None if there is none.

    Where `kind` selects a dataclass, the key may be of any of them.
    """
    kind: Any = schema
    for part in key.split("."):
        options = dataclasses_in(kind)
        if options:
            kind = next((fields_of(option)[part] for option in options if part in fields_of(option)), None)
            if kind is None:
                return None
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        elif kind is not Any:  # what is below anything may be anything
            return None
    inner = dataclass_in(kind)
    return kind if inner is None or type(None) in typing.get_args(kind) else inner


def fields_of(schema: type) -> dict[str, Any]:
    """Return the annotation of every field, resolved."""
    hints = typing.get_type_hints(schema, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema) if field.init}


def dataclass_in(kind: Any) -> Any | None:
    """Return the dataclass that an annotation `D` or `D | None` holds."""
    return next((arm for arm in _arms(kind) if dataclasses.is_dataclass(arm)), None)


def registry_in(kind: Any) -> Registry[Any] | None:
    """Return the registry of an annotation `Annotated[Base, registry]`, or of one `| None`."""
    parts = (part for arm in _arms(kind) for part in getattr(arm, "__metadata__", ()))
    return next((part for part in parts if isinstance(part, Registry)), None)


def kinds_of(kind: Any) -> list[str]:
    """Return the names that `kind` selects between in an annotation; none where it selects nothing."""
    registry = registry_in(kind)
    return [] if registry is None else list(registry.configs())


def dataclasses_in(kind: Any) -> list[type]:
    """Return the dataclasses that an annotation may hold: one, or all that a registry's `kind` selects between."""
    registry = registry_in(kind)
    if registry is not None:
        return list(registry.configs().values())
    inner = dataclass_in(kind)
    return [] if inner is None else [inner]


def selected_dataclass(kind: Any, tree: Any) -> type | None:
    """Return the dataclass of an annotation, the one that the `kind` of `tree` selects; None if there is none."""
    registry = registry_in(kind)
    if registry is None:
        return dataclass_in(kind)
    name = tree.get(KIND) if isinstance(tree, Mapping) else None
    return registry.config(name) if isinstance(name, str) and name in registry else None


def without_none(kind: Any) -> Any:
    """Return `X` of an annotation `X | None`, any other as it is."""
    arms = [arm for arm in _arms(kind) if arm is not type(None)]
    return arms[0] if len(arms) == 1 else kind


def _arms(kind: Any) -> tuple[Any, ...]:
    return typing.get_args(kind) if is_union(kind) else (kind,)


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
    """Return what the docstring of the key's dataclass, or of a base of it, says of the key, on one line."""
    *parents, last = key.split(".")
    owners: list[type] = [schema]
    for parent in parents:
        inner = [fields_of(owner)[parent] for owner in owners if parent in fields_of(owner)]
        owners = [option for kind in inner for option in dataclasses_in(kind)]
    pattern = re.compile(rf"^( +){re.escape(last)}: (.*(?:\n\1 +.*)*)$", flags=re.MULTILINE)
    for described in (base for owner in owners for base in owner.__mro__):
        found = pattern.search(inspect.getdoc(described) or "")
        if found:
            return " ".join(found.group(2).split()).rstrip(".")
    return ""
