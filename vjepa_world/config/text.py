"""A configuration as YAML and back."""

from __future__ import annotations

import typing
from typing import Any, TypeVar

from vjepa_world.config.building import build
from vjepa_world.config.values import defaults_of, leaves, overlay, plain

T = TypeVar("T")


def to_yaml(config: object) -> str:
    """Return the dataclass as YAML, in the order of its fields, as `config.yaml` of a run folder holds it."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(plain(config)))


def from_yaml(text: str, schema: type[T], source: str = "config.yaml") -> T:
    """Return the dataclass that `to_yaml` wrote; `source` names the text in errors.

    Raises:
        ConfigError: If a key is unknown or missing, or a value has the wrong type.
    """
    from omegaconf import OmegaConf

    # OmegaConf's loader, unlike plain PyYAML, reads 1e-3 as a number.
    loaded = OmegaConf.to_container(OmegaConf.create(text))
    return typing.cast(T, build(schema, overlay(defaults_of(schema), loaded), "", source))


def flatten(config: object) -> dict[str, Any]:
    """Return the dataclass as one level of dotted keys and plain values."""
    return dict(leaves(plain(config), ""))
