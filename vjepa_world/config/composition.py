"""Composes dataclass defaults, YAML and command line, and refuses words that mean nothing."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import threading
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from vjepa_world.config.building import build
from vjepa_world.config.groups import groups_of, option_tree, options_of
from vjepa_world.config.location import config_root
from vjepa_world.config.quoting import escape_dollar, hydra_value, unescape_dollar
from vjepa_world.config.schema import is_text, kinds_of, registry_in, top_level, type_at, unknown_key
from vjepa_world.config.text import read_yaml_file
from vjepa_world.config.used import refuse_unused
from vjepa_world.config.values import leaves, with_defaults
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.registry import KIND

T = TypeVar("T")

#: Hydra composes one configuration at a time in a process.
_composing = threading.Lock()

#: Keys that a word which is a path may be meant for, the likeliest first.
_PATH_KEYS = ("path", "data.path", "checkpoint")

#: More than any value needs.
_MOST_BRACKETS = 50


def compose(
    command: str,
    schema: type[T],
    overrides: Sequence[str],
    config_dir: Path | None = None,
    *,
    file: Path | None = None,
) -> T:
    """Return the command's configuration: dataclass defaults, then `COMMAND.yaml`, a file of the user, the overrides.

    Args:
        command: Names the file `COMMAND.yaml`; without such a file the dataclass's defaults stand alone.
        schema: The command's dataclass.
        overrides: Words `key=value` and `group=option`.
        config_dir: Folder of the YAML files; `config_root()` unless given.
        file: YAML with some or all keys, such as the `config.yaml` of a run. An override `group=option` replaces the
            section of its name.

    Raises:
        ConfigError: For an unknown key, group or option, a value of the wrong type, a key not given, or one that is
            given and not used, as the others choose.
    """
    folder = config_dir or config_root()
    tree = composed_tree(command, schema, overrides, folder, file)
    built = typing.cast(T, build(schema, tree, "", f"{command}.yaml or the command line"))
    refuse_unused(built, _given_keys(overrides, schema, groups_of(command, folder)))
    return built


def _given_keys(overrides: Sequence[str], schema: type, groups: Mapping[str, str]) -> list[str]:
    """Return the dotted keys that words give, those within `key={...}` too; groups are not keys."""
    from omegaconf import OmegaConf

    found = []
    for word in overrides:
        key, _, value = word.partition("=")
        if value.startswith("{") and not is_text(type_at(schema, key)):
            inner = OmegaConf.to_container(OmegaConf.create(f"value: {value}"))
            found += [f"{key}.{name}" for name, _ in leaves(typing.cast(dict[str, Any], inner)["value"], "")]
        elif key not in groups:
            found.append(key)
    return found


def launcher_words(
    command: str, schema: type, overrides: Sequence[str], *, sweep: bool, config_dir: Path | None = None
) -> list[str]:
    """Return the words of a command as Hydra's own command line is to read them, which are those that `compose` takes.

    Args:
        command: Names the file `COMMAND.yaml`.
        schema: The command's dataclass.
        overrides: Words `key=value` and `group=option`.
        sweep: Commas separate several values.
        config_dir: Folder of the YAML files; `config_root()` unless given.

    Raises:
        ConfigError: For an unknown key, group or option.
    """
    folder = config_dir or config_root()
    groups = groups_of(command, folder)
    _offer_kinds(groups, folder, schema)
    return [_checked(word, schema, groups, folder, sweep) for word in overrides]


def composed_tree(
    command: str, schema: type, overrides: Sequence[str], folder: Path, file: Path | None
) -> dict[str, Any]:
    """Return the configuration that :func:`compose` builds and checks, as plain containers.

    Raises:
        ConfigError: For an unknown key, group or option, or text that Hydra cannot read.
    """
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = groups_of(command, folder)
    words = [_checked(word, schema, groups, folder) for word in overrides]
    chosen = [word for word in words if not word.startswith("++")]
    keys = [word for word in words if word.startswith("++")]
    _refuse_two_kinds(chosen, keys, folder)
    given = {} if file is None else _file_tree(file, schema, [word.split("=")[0] for word in chosen])
    _offer_kinds(groups, folder, schema)
    try:
        with _composing, initialize_config_dir(version_base="1.3", config_dir=str(folder)):
            shipped = hydra_compose(command if (folder / f"{command}.yaml").is_file() else None, chosen)
            typed = hydra_compose(None, keys)
        tree: dict[str, Any] = with_defaults(
            schema, _plain(shipped, schema, f"{command}.yaml or one of its groups")
        )
        for layer in (given, _plain(typed, schema, "the command line")):
            tree = with_defaults(schema, layer, tree)
        resolved = OmegaConf.to_container(OmegaConf.create(tree), resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        # A ValueError is of a number with more digits than Python reads.
        reason = unescape_dollar(str(error.__cause__ or error))
        raise ConfigError(_unreadable(command, overrides, words, reason)) from error
    return typing.cast(dict[str, Any], unescape_dollar(resolved))


def _refuse_two_kinds(chosen: Sequence[str], keys: Sequence[str], folder: Path) -> None:
    """Refuse an option of a group together with another kind, which would drop the option's settings."""
    for word in chosen:
        group, option = word.split("=", 1)
        preset = option_tree(group, folder / group.split("@")[0] / f"{option}.yaml").get(group)
        selected = preset.get(KIND) if isinstance(preset, dict) else None
        for key in keys:
            name, _, quoted = key.removeprefix("++").partition("=")
            kind = quoted.strip("'\"")
            if selected and name == f"{group}.{KIND}" and kind != selected:
                raise ConfigError(
                    f"{group}={option} has settings of the {group} '{selected}', and {name}={kind} selects another "
                    "one; leave out either."
                )


def _plain(composed: Any, schema: type, source: str) -> dict[str, Any]:
    """Return what Hydra composed as plain containers, with its references as texts."""
    from omegaconf import OmegaConf

    tree = typing.cast(dict[str, Any], OmegaConf.to_container(composed))
    _refuse_unknown_keys(tree, schema, source)
    return tree


def _file_tree(file: Path, schema: type, groups: Sequence[str]) -> dict[str, Any]:
    """Return the keys of a user's file, without the sections that are replaced by a group's option."""
    tree = escape_dollar(read_yaml_file(file))
    _refuse_unknown_keys(tree, schema, str(file))
    for group in groups:
        if type_at(schema, group) is None:
            raise ConfigError(
                f"{group}= is given with the file {file}, whose keys would replace those of {group}; leave out either."
            )
    return {key: value for key, value in tree.items() if key not in groups}


def _unreadable(command: str, overrides: Sequence[str], words: Sequence[str], reason: str) -> str:
    if reason.startswith("Ambiguous value"):
        word = reason.splitlines()[0].split("'")[1].removeprefix("++")
        key, value = word.split("=", 1)
        return f"got '{word}', expected one value; a list is written {key}=[{value}]"
    first = next((line for line in reason.splitlines() if line.strip()), "no reason given")
    return f"cannot read {_first_unreadable(overrides, words) or 'the YAML'} for '{command}': {first}"


def _first_unreadable(overrides: Sequence[str], words: Sequence[str]) -> str:
    """Return the first word that Hydra's grammar does not know, as it was typed; all where it knows each."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()
    for typed, word in zip(overrides, words, strict=True):
        try:
            parser.parse_override(word)
        except (HydraException, ValueError):
            return typed
    return " ".join(overrides)


def _hint(word: str, schema: type, groups: Mapping[str, str]) -> str:
    """Return what a word without a key may mean: the path of an existing file, or one of the keys."""
    paths = [key for key in _PATH_KEYS if type_at(schema, key) is not None]
    if paths and os.path.exists(word):
        return f"If it is a path, give {shlex.quote(f'{paths[0]}={word}')}."
    return nearest(word, top_level(schema, groups), begins_sentence=True)


def _checked(word: str, schema: type, groups: Mapping[str, str], folder: Path, sweep: bool = False) -> str:
    """Return the word as Hydra is to read it, or raise if its key, group or option does not exist."""
    if "=" not in word:
        raise ConfigError(f"got '{word}', expected key=value. {_hint(word, schema, groups)}")
    key, value = word.split("=", 1)
    if not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise ConfigError(
            f"got '{word}': a key is letters, digits, '_' and '.'; prefixes such as '+' are not used"
        )
    kind = type_at(schema, key)
    registry = registry_in(kind)
    selects = key in groups or registry is not None
    if selects and not value.startswith("{"):
        options = options_of(key, folder, schema) if key in groups else kinds_of(kind)
        for option in value.split(",") if sweep else [value]:
            if option not in options and "(" not in option:
                if registry is not None and option in registry:
                    registry.config(option)  # one that cannot be imported says why
                raise ConfigError(f"unknown {key} '{option}'; {nearest(option, options)}")
        return word if key in groups else f"++{key}.{KIND}={value}"
    if kind is None:
        raise ConfigError(unknown_key(key, schema, groups))
    if dataclasses.is_dataclass(kind) and not value.startswith("{"):
        inside = [f"{key}.{field.name}" for field in dataclasses.fields(kind)]
        raise ConfigError(f"got '{word}', but '{key}' is a set of keys: give one of {', '.join(inside)}")
    if not is_text(kind) and max(map(value.count, "[{(")) > _MOST_BRACKETS:
        # Hydra's parser calls itself for each of them.
        raise ConfigError(f"{key} got '{value[:40]}...', expected a value with fewer brackets")
    # '++': keys with a default in the dataclass alone need no line in the YAML
    return f"++{key}={hydra_value(value, kind, sweep)}"


def _offer_kinds(groups: Mapping[str, str], folder: Path, schema: type) -> None:
    """Make Hydra know the options of groups that have no file: a kind with its defaults.

    Raises:
        ConfigError: If the file of an option has the name of a kind and does not select that kind.
    """
    from hydra.core.config_store import ConfigStore

    for group in groups:
        for kind in kinds_of(type_at(schema, group)):
            path = folder / group / f"{kind}.yaml"
            if not path.is_file():
                ConfigStore.instance().store(group=group, name=kind, node={KIND: kind})
            elif (selected := option_tree(group, path).get(group, {}).get(KIND)) != kind:
                raise ConfigError(
                    f"{path} has the name of the {group} '{kind}', but its {KIND} is {selected or 'not given'}; "
                    f"set {KIND}: {kind} in it, or rename it."
                )


def _refuse_unknown_keys(tree: Any, schema: type, source: str) -> None:
    for key, _ in leaves(tree, ""):
        if type_at(schema, key) is None:
            raise ConfigError(f"{source}: {unknown_key(key, schema, {})}")
