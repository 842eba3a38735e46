"""The help of a command: its groups with their options, and its keys by section, with defaults and meanings."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from vjepa_world.config.composition import composed_tree
from vjepa_world.config.groups import default_tree, groups_of, options_of
from vjepa_world.config.location import config_root
from vjepa_world.config.schema import (
    dataclasses_in,
    fields_of,
    help_of,
    kinds_of,
    selected_dataclass,
    type_at,
)
from vjepa_world.config.values import leaves, shown
from vjepa_world.registry import KIND

_WIDEST_VALUE, _NARROWEST = 24, 20


def describe(
    command: str,
    schema: type,
    config_dir: Path | None = None,
    *,
    words: Sequence[str] = (),
    file: Path | None = None,
    keys: Sequence[str] | None = None,
    width: int | None = None,
) -> str:
    """Return the help of a command.

    Args:
        command: Names the file `COMMAND.yaml`.
        schema: The command's dataclass.
        config_dir: Folder of the YAML files; `config_root()` unless given.
        words: Words `key=value` and `group=option`. Those that select an option or a kind decide which keys and
            defaults are shown; the others are ignored.
        file: YAML with some or all keys, which may select kinds as well.
        keys: Dotted keys, and sections such as `env`, that are listed; None for all keys.
        width: Letters of a line, beyond which meanings and options continue on the next; None for no limit.

    Raises:
        ConfigError: If a word selects an option or a kind that does not exist, or the file cannot be used.
    """
    folder = config_dir or config_root()
    tree, groups = default_tree(command, schema, folder), groups_of(command, folder)
    default_kinds = _selected_kinds(schema, tree)
    groups = {**default_kinds, **groups}
    selected = dict(_selections(words, schema, groups))
    if selected or file:
        overrides = [f"{key}={option}" for key, option in selected.items()]
        tree = composed_tree(command, schema, overrides, folder, file)
        groups |= dict(_selected_kinds(schema, tree).items() - default_kinds.items())
        groups |= {key: option for key, option in selected.items() if key in groups and option[0] != "{"}
    blocks = []
    if groups:
        options = {name: ", ".join(options_of(name, folder, schema)) for name in groups}
        name_width = max(len(f"{name}={chosen}") for name, chosen in groups.items())
        lines = [
            _wrapped(f"  {f'{name}={chosen}':<{name_width}}  of ", options[name], width)
            for name, chosen in groups.items()
        ]
        blocks.append("\n".join(["Groups (group=option):", *lines]))
    known = [(key, shown(value), help_of(schema, key)) for key, value in leaves(tree, "")]
    rows = [row for row in known if keys is None or _is_listed(row[0], keys)]
    key_width = max((len(key) for key, _, _ in rows), default=0)
    value_width = min(_WIDEST_VALUE, max((len(value) for _, value, _ in rows), default=0))
    for section, title in _sections(schema, tree):
        lines = [
            _wrapped(f"  {key:<{key_width}}  {value:<{value_width}}  ", text, width)
            for key, value, text in rows
            if _section(key) == section
        ]
        if lines:
            blocks.append("\n".join([title, *lines]))
    if len(rows) < len(known):
        blocks.append(f"{len(known) - len(rows)} more keys are listed by --help-all.")
    return "\n\n".join(blocks)


def _selected_kinds(schema: type, tree: Mapping[str, Any]) -> dict[str, str]:
    """Return the selected kind of every section that has kinds; null for a section that is left out."""
    sections = [name for name, kind in fields_of(schema).items() if kinds_of(kind)]
    return {name: str(tree[name][KIND]) if tree[name] else shown(None) for name in sections}


def _selections(words: Sequence[str], schema: type, groups: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the group or section, and the option, of every word that selects an option or a kind."""
    for word in words:
        key, _, option = word.partition("=")
        section = key.removesuffix(f".{KIND}")
        if option and (key in groups or kinds_of(type_at(schema, section))):
            yield section, option


def _wrapped(start: str, text: str, width: int | None) -> str:
    """Return a line, continued below the beginning of `text` where it has more than `width` letters."""
    if width is None or width - len(start) < _NARROWEST:
        return (start + text).rstrip()
    lines = textwrap.wrap(text, width - len(start), break_long_words=False, break_on_hyphens=False)
    return (start + f"\n{' ' * len(start)}".join(lines)).rstrip()


def _is_listed(key: str, names: Sequence[str]) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in names)


def _section(key: str) -> str:
    return key.split(".")[0] if "." in key else ""


def _sections(schema: type, tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the sections, the keys without one first, each with its title."""
    yield "", "Keys (key=value):"
    for name, kind in fields_of(schema).items():
        inner = selected_dataclass(kind, tree.get(name)) or next(iter(dataclasses_in(kind)), None)
        title = "" if inner is None else (inspect.getdoc(inner) or "").split("\n")[0].rstrip(".")
        yield name, f"{name}: {title}" if title else f"{name}:"
