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

from vjepa_world.config.composition import compose, describe, launcher_words
from vjepa_world.config.location import config_root
from vjepa_world.config.quoting import typed_value
from vjepa_world.config.text import flatten, from_yaml, read_yaml, read_yaml_file, to_yaml

__all__ = [
    "compose",
    "config_root",
    "describe",
    "flatten",
    "from_yaml",
    "launcher_words",
    "read_yaml",
    "read_yaml_file",
    "to_yaml",
    "typed_value",
]
