"""Turns `key=value` words into a verb's typed, frozen dataclass.

Hydra composes `configs/VERB.yaml` (its defaults list may name groups, `model: vit_nano`) and the overrides;
what comes out is laid over the dataclass's own defaults and built into the dataclass here. No `DictConfig`
leaves this file. OmegaConf's structured configs are not used for the typing: they know no `Literal`, give a
list where a tuple is asked for, leave its length unchecked, and hide what `__post_init__` raises.

What a schema may hold:

- `bool int float str Path`, `Literal["a", "b"]`, an `Enum`, `X | None`, `X | Y`;
- `tuple[float, float]`, `tuple[int, ...]`, `list[float]`, `dict[str, float]`; tuples arrive as tuples;
- further dataclasses, with or without a default. Every dataclass may check itself in `__post_init__` and raise
  `ConfigError` (or any error of ours), which comes through unchanged; a `ValueError` becomes a `ConfigError`.

A field without a default that neither the YAML nor the command line gives is an error that names it. A field's
help is its line under `Attributes:` (or `Args:`) in the class's docstring; `field(metadata={"example": "clips/"})`
gives the error for a missing key something to show. Annotations must be resolvable at run time, so nothing that
they name may be imported under `TYPE_CHECKING` alone.
"""

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
from typing import Any, Literal, TypeVar, Union

from vjepa_world.errors import ConfigError, nearest

T = TypeVar("T")

MISSING = "???"


def compose(verb: str, schema: type[T], overrides: Sequence[str], config_dir: Path | None = None) -> T:
    """Return the verb's configuration: dataclass defaults, then `VERB.yaml`, then the overrides.

    Args:
        verb: Names the file `VERB.yaml`; without such a file the dataclass's defaults stand alone.
        schema: The verb's dataclass.
        overrides: Words `key=value` and `group=option`.
        config_dir: Folder of the YAML files; the package `configs` unless given.

    Raises:
        ConfigError: For an unknown key, group or option, a value of the wrong type, or a key not given.
    """
    folder = config_dir or default_config_dir()
    tree = _composed_tree(verb, schema, overrides, folder)
    return typing.cast(T, _build(schema, tree, "", f"{verb}.yaml or the command line"))


def to_yaml(config: object) -> str:
    """Return the dataclass as YAML, in the order of its fields, as `config.yaml` of a run folder holds it."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(_plain(config)))


def from_yaml(text: str, schema: type[T], source: str = "config.yaml") -> T:
    """Return the dataclass that `to_yaml` wrote; `source` names the text in errors.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    from omegaconf import OmegaConf

    # OmegaConf's loader, unlike plain PyYAML, reads 1e-3 as a number.
    loaded = OmegaConf.to_container(OmegaConf.create(text))
    return typing.cast(T, _build(schema, _overlay(_defaults(schema), loaded), "", source))


def flatten(config: object) -> dict[str, Any]:
    """Return the dataclass as one level of dotted keys and plain values."""
    return dict(_leaves(_plain(config), ""))


def describe(verb: str, schema: type, config_dir: Path | None = None) -> str:
    """Return the help of a configured verb: its groups with their options, its keys, defaults and meanings."""
    folder = config_dir or default_config_dir()
    tree = _composed_tree(verb, schema, [], folder)
    lines = []
    groups = _groups(verb, folder)
    if groups:
        lines.append("Groups (group=option):")
        lines += [
            f"  {name}={chosen:<14} of {', '.join(_options(name, folder))}" for name, chosen in groups.items()
        ]
        lines.append("")
    lines.append("Keys (key=value):")
    rows = [(key, _shown(value), _help(schema, key)) for key, value in _leaves(tree, "")]
    key_width = max((len(key) for key, _, _ in rows), default=0)
    value_width = min(24, max((len(value) for _, value, _ in rows), default=0))
    lines += [f"  {key:<{key_width}}  {value:<{value_width}}  {text}".rstrip() for key, value, text in rows]
    return "\n".join(lines)


def default_config_dir() -> Path:
    """Return the folder of the package `configs`."""
    import configs

    return Path(next(iter(configs.__path__))).absolute()


# --- composition -----------------------------------------------------------------------------------------------


def _composed_tree(verb: str, schema: type, overrides: Sequence[str], folder: Path) -> dict[str, Any]:
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    groups = _groups(verb, folder)
    words = [_checked(word, schema, groups, folder) for word in overrides]
    name = verb if (folder / f"{verb}.yaml").is_file() else None
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(folder)):
            composed = hydra_compose(config_name=name, overrides=words)
        _refuse_unknown_yaml_keys(OmegaConf.to_container(composed), schema, verb)
        merged = OmegaConf.merge(OmegaConf.create(_defaults(schema)), composed)
        tree = OmegaConf.to_container(merged, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_unreadable(verb, overrides, str(error.__cause__ or error))) from error
    return typing.cast(dict[str, Any], tree)


def _unreadable(verb: str, overrides: Sequence[str], reason: str) -> str:
    if reason.startswith("Ambiguous value"):
        word = reason.splitlines()[0].split("'")[1].removeprefix("++")
        key, value = word.split("=", 1)
        return f"got '{word}', expected one value; a list is written {key}=[{value}]"
    first = next((line for line in reason.splitlines() if line.strip()), "no reason given")
    return f"cannot read {' '.join(overrides) or 'the YAML'} for '{verb}': {first}"


def _checked(word: str, schema: type, groups: Mapping[str, str], folder: Path) -> str:
    """Return the word as Hydra is to read it, or raise if its key, group or option does not exist."""
    if "=" not in word:
        raise ConfigError(f"got '{word}', expected key=value. {nearest(word, _top_level(schema, groups))}")
    key, value = word.split("=", 1)
    if not re.fullmatch(r"[A-Za-z_][\w.]*", key):
        raise ConfigError(
            f"got '{word}': a key is letters, digits, '_' and '.'; prefixes such as '+' are not used"
        )
    if key in groups and not value.startswith("{"):
        options = _options(key, folder)
        if value not in options:
            raise ConfigError(f"unknown {key} '{value}'; {nearest(value, options)}")
        return word
    kind = _type_at(schema, key)
    if kind is None:
        raise ConfigError(_unknown_key(key, schema, groups))
    if dataclasses.is_dataclass(kind) and not value.startswith("{"):
        inside = [f"{key}.{field.name}" for field in dataclasses.fields(kind)]
        raise ConfigError(f"got '{word}', but '{key}' is a set of keys: give one of {', '.join(inside)}")
    if value == "":
        value = "''" if _is_text(kind) else "null"
    elif _is_text(kind):
        value = _quoted(value, kind)
    return f"++{key}={value}"  # '++': keys with a default in the dataclass alone need no line in the YAML


def _quoted(value: str, kind: Any) -> str:
    """Quote a text for Hydra, whose grammar would read `2024`, `a,b` and `clip(1).mp4` as something else."""
    if value == "null" and type(None) in typing.get_args(kind):
        return value
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _groups(verb: str, folder: Path) -> dict[str, str]:
    """Return the groups in the verb's defaults list with the option that stands there."""
    from omegaconf import OmegaConf

    path = folder / f"{verb}.yaml"
    if not path.is_file():
        return {}
    loaded = OmegaConf.to_container(OmegaConf.load(path))
    entries = loaded.get("defaults", []) if isinstance(loaded, dict) else []
    pairs = [item for entry in entries if isinstance(entry, dict) for item in entry.items()]
    return {str(group).removeprefix("override ").lstrip("/"): str(option) for group, option in pairs}


def _options(group: str, folder: Path) -> list[str]:
    return sorted(path.stem for path in (folder / group.split("@")[0]).glob("*.yaml"))


def _refuse_unknown_yaml_keys(tree: Any, schema: type, verb: str) -> None:
    for key, _ in _leaves(tree, ""):
        if _type_at(schema, key) is None:
            raise ConfigError(f"{verb}.yaml or one of its groups: {_unknown_key(key, schema, {})}")


# --- names -----------------------------------------------------------------------------------------------------


def _unknown_key(key: str, schema: type, groups: Mapping[str, str]) -> str:
    known = list(dict.fromkeys([*_keys(schema, ""), *groups]))
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


def _keys(schema: type, prefix: str) -> Iterator[str]:
    for name, kind in _fields(schema).items():
        inner = _dataclass_in(kind)
        if inner is None:
            yield prefix + name
        else:
            yield from _keys(inner, f"{prefix}{name}.")


def _top_level(schema: type, groups: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys([*_fields(schema), *groups]))


def _type_at(schema: type, key: str) -> Any | None:
    """Return the annotation at a dotted key (the dataclass itself for a set of keys); None if there is none."""
    kind: Any = schema
    for part in key.split("."):
        inner = _dataclass_in(kind)
        if inner is not None:
            kind = _fields(inner).get(part)
            if kind is None:
                return None
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            return None
    inner = _dataclass_in(kind)
    return kind if inner is None or type(None) in typing.get_args(kind) else inner


def _fields(schema: type) -> dict[str, Any]:
    hints = typing.get_type_hints(schema)
    return {field.name: hints[field.name] for field in dataclasses.fields(schema) if field.init}


def _dataclass_in(kind: Any) -> Any | None:
    """Return the dataclass that an annotation `D` or `D | None` holds."""
    if dataclasses.is_dataclass(kind):
        return kind
    if _is_union(kind):
        return next((arm for arm in typing.get_args(kind) if dataclasses.is_dataclass(arm)), None)
    return None


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (Union, types.UnionType)


def _is_text(kind: Any) -> bool:
    """Say whether every value that the annotation allows is written as a text (or is None)."""
    if _is_union(kind):
        return all(arm is type(None) or _is_text(arm) for arm in typing.get_args(kind))
    if typing.get_origin(kind) is Literal:
        return all(isinstance(choice, str) for choice in typing.get_args(kind))
    return kind is str or (isinstance(kind, type) and issubclass(kind, Path | Enum))


def _help(schema: type, key: str) -> str:
    *parents, last = key.split(".")
    kind: Any = schema
    for parent in parents:
        inner = _dataclass_in(kind)
        if inner is None:
            return ""
        kind = _fields(inner).get(parent)
    owner = _dataclass_in(kind)
    documentation = inspect.getdoc(owner) if owner is not None else None
    found = re.search(rf"^( +){re.escape(last)}: (.*(?:\n\1 +.*)*)$", documentation or "", flags=re.MULTILINE)
    return " ".join(found.group(2).split()).rstrip(".") if found else ""


# --- values ----------------------------------------------------------------------------------------------------


def _defaults(schema: type) -> dict[str, Any]:
    """Return the dataclass's defaults as plain containers, `MISSING` where a field has none."""
    tree: dict[str, Any] = {}
    kinds = _fields(schema)
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        if field.default is not dataclasses.MISSING:
            tree[field.name] = _plain(field.default)
        elif field.default_factory is not dataclasses.MISSING:
            tree[field.name] = _factory_default(field, kinds[field.name])
        else:
            inner = _dataclass_in(kinds[field.name])
            tree[field.name] = MISSING if inner is None else _defaults(inner)
    return tree


def _factory_default(field: dataclasses.Field[Any], kind: Any) -> Any:
    # A factory that is the dataclass itself may check in __post_init__ what only the whole configuration settles.
    if field.default_factory is kind and dataclasses.is_dataclass(kind):
        return _defaults(typing.cast(type, kind))
    factory = typing.cast(typing.Callable[[], Any], field.default_factory)
    return _plain(factory())


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name))
            for field in dataclasses.fields(value)
            if field.init
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    return str(value) if isinstance(value, Path) else value


def _overlay(base: dict[str, Any], over: Any) -> dict[str, Any]:
    if not isinstance(over, dict):
        raise ConfigError(f"expected keys and values, got {over!r}")
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, dict)
        merged[key] = _overlay(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _leaves(tree: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _shown(value: Any) -> str:
    if value == MISSING:
        return "(required)"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value).replace(" ", "") if isinstance(value, list) else (str(value) or "''")


# --- building --------------------------------------------------------------------------------------------------


def _build(kind: Any, value: Any, key: str, source: str) -> Any:
    """Return `value` as an instance of the annotation `kind`; `key` is where it stands."""
    if isinstance(value, str) and value == MISSING:
        raise ConfigError(f"'{key}' is not given and has no default: give {key}=VALUE")
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build_dataclass(typing.cast(type, kind), value, key, source)
    if _is_union(kind):
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
        raise ConfigError(f"'{key}' got {value!r}, expected the keys {', '.join(_fields(schema))}")
    prefix = f"{key}." if key else ""
    kinds = _fields(schema)
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
        built[field.name] = _build(kinds[field.name], found, prefix + field.name, source)
    try:
        return schema(**built)
    except ValueError as error:
        raise ConfigError(f"'{key}': {error}" if key else str(error)) from error


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _not_given(schema: type, field: dataclasses.Field[Any], key: str) -> str:
    meaning = _help(schema, field.name)
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
        return _build(arms[0], value, key, source)
    exact = [arm for arm in arms if type(value) is arm]
    for arm in [*exact, *arms]:
        try:
            return _build(arm, value, key, source)
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
        return {str(name): _build(inner, item, f"{key}.{name}", source) for name, item in value.items()}
    if not isinstance(value, list | tuple):
        raise ConfigError(_wrong(key, value, _type_name(kind)))
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise ConfigError(_wrong(key, list(value), f"{len(arguments)} entries, {_type_name(kind)}"))
        kinds: Sequence[Any] = arguments
    else:
        kinds = [arguments[0] if arguments else Any] * len(value)
    return origin(
        _build(inner, item, f"{key}[{index}]", source)
        for index, (inner, item) in enumerate(zip(kinds, value, strict=True))
    )


def _build_scalar(kind: Any, value: Any, key: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is float and is_number:
        return float(value)
    if kind is int and is_number and (isinstance(value, int) or value.is_integer()):
        return int(value)  # 1e4 is how people write a number of steps
    if kind in (str, bool) and type(value) is kind:
        return value
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is type(None) and value is None:
        return None
    raise ConfigError(_wrong(key, value, _type_name(kind)))


def _wrong(key: str, value: Any, expected: str) -> str:
    return f"'{key}' got {_shown(value)!r}, expected {expected}"


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
