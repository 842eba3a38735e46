"""A configuration as YAML and back.

What is written are values, so a text such as `${x}` is read back as it is: here nothing refers to anything.
"""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Any, TypeVar

import yaml

from vjepa_world.config.building import build
from vjepa_world.config.values import leaves, plain, with_defaults, without_other_kinds
from vjepa_world.errors import ConfigError

T = TypeVar("T")

#: Numbers as people write them; YAML 1.1 takes 1e-3 for a text.
_EXPONENT = re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$")


#: How deep values may be nested, and how large a whole number may be: further none of ours are.
_DEEPEST, _LARGEST = 50, 10**300


class _Loader(yaml.SafeLoader):
    """Reads what the dumper writes, and what earlier releases wrote."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Refuse references, of which a few lines of text can make more values than fit any memory."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "references (*name) are not read", mark)
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    """Writes a text that looks like a number in quotes."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _kind in (_Loader, _Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+.0123456789"))


def to_yaml(config: object) -> str:
    """Return the dataclass as YAML, in the order of its fields, as `config.yaml` of a run folder holds it."""
    return yaml.dump(
        plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False
    )


def read_yaml(text: str, source: str = "config.yaml") -> dict[str, Any]:
    """Return the keys and values of a YAML text; `source` names it in errors.

    Raises:
        ConfigError: If it is not YAML, or not of keys and plain values.
    """
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError) as error:
        raise ConfigError(f"{source} is not readable as YAML ({' '.join(str(error).split())}).") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source} holds {type(loaded).__name__}, expected keys and values.")
    _check_plain(loaded, source)
    return {str(key): value for key, value in loaded.items()}


def read_yaml_file(path: Path) -> dict[str, Any]:
    """Return the keys and values of a YAML file.

    Raises:
        ConfigError: If it cannot be read, is not YAML, or not of keys and plain values.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not readable ({error}); expected YAML in UTF-8.") from error
    return read_yaml(content, str(path))


def _check_plain(loaded: Any, source: str) -> None:
    """Refuse dates, sets and bytes, which YAML knows and JSON does not, and values without a sensible size."""
    waiting = [(loaded, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > _DEEPEST:
            raise ConfigError(f"{source} is nested more than {_DEEPEST} levels deep; none of ours is.")
        if isinstance(value, dict):
            waiting += [(inner, depth + 1) for inner in (*value.keys(), *value.values())]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif isinstance(value, int) and abs(value) > _LARGEST:
            raise ConfigError(
                f"{source} holds a whole number of {value.bit_length()} bits; none of ours is so large."
            )
        elif value is not None and not isinstance(value, str | int | float):
            raise ConfigError(
                f"{source} holds a {type(value).__name__}, expected texts and numbers: put it in quotes."
            )


def from_yaml(text: str, schema: type[T], source: str = "config.yaml", *, other_kinds: bool = False) -> T:
    """Return the dataclass that `to_yaml` wrote; `source` names the text in errors.

    Args:
        text: YAML.
        schema: The dataclass.
        source: Name of the text in errors.
        other_kinds: Whether options that only other kinds have are ignored, as earlier releases recorded them.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    tree = read_yaml(text, source)
    if other_kinds:
        tree = without_other_kinds(schema, tree)
    return typing.cast(T, build(schema, with_defaults(schema, tree), "", source))


def flatten(config: object) -> dict[str, Any]:
    """Return the dataclass as one level of dotted keys and plain values."""
    return dict(leaves(plain(config), ""))
