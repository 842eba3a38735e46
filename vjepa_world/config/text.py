"""A configuration as YAML and back.

What is written are values, so a text such as `${x}` is read back as it is: here nothing refers to anything.
"""

from __future__ import annotations

import re
import typing
from typing import Any, TypeVar

import yaml

from vjepa_world.config.building import build
from vjepa_world.config.values import defaults_of, leaves, overlay, plain
from vjepa_world.errors import ConfigError

T = TypeVar("T")

#: Numbers as people write them; YAML 1.1 takes 1e-3 for a text.
_EXPONENT = re.compile(r"^[-+]?(?:\d[\d_]*\.?[\d_]*|\.[\d_]+)[eE][-+]?\d+$")


class _Loader(yaml.SafeLoader):
    """Reads what the dumper writes, and what earlier releases wrote."""


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
        ConfigError: If it is not YAML, or not of keys and values.
    """
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source} is not readable as YAML ({' '.join(str(error).split())}).") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict):
        raise ConfigError(f"{source} holds {type(loaded).__name__}, expected keys and values.")
    return {str(key): value for key, value in loaded.items()}


def from_yaml(text: str, schema: type[T], source: str = "config.yaml") -> T:
    """Return the dataclass that `to_yaml` wrote; `source` names the text in errors.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    return typing.cast(T, build(schema, overlay(defaults_of(schema), read_yaml(text, source)), "", source))


def flatten(config: object) -> dict[str, Any]:
    """Return the dataclass as one level of dotted keys and plain values."""
    return dict(leaves(plain(config), ""))
