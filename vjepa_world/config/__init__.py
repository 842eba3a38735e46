"""Turns `key=value` words into a command's typed, frozen dataclass.

Hydra reads `configs/COMMAND.yaml` (its defaults list may name groups, `model: vit_nano`) and the overrides. They are
laid over the dataclass's own defaults, and pydantic builds the dataclass of the result. No `DictConfig` leaves this
package. OmegaConf's structured configs are not used for the typing: they do not know `Literal`, return a list where a
tuple is declared, do not check its length, and hide what `__post_init__` raises.

A schema may hold:

- `bool int float str Path`, `Literal["a", "b"]`, an `Enum`, `X | None`, `X | Y`;
- `tuple[float, float]`, `tuple[int, ...]`, `list[float]`, `dict[str, float]`; tuples arrive as tuples;
- further dataclasses, with or without a default;
- `Annotated[Base, registry]`: one of the dataclasses of a :class:`vjepa_world.registry.Registry`, selected by its field
  `kind`. Only the keys of the selected one are allowed, and a dataclass that a user's package registers is one of them.

A dataclass may check itself in `__post_init__` and raise `ConfigError` (or any error of this package), which comes
through unchanged; a `ValueError` becomes a `ConfigError`. A field without a default that neither the YAML nor the
command line gives is an error that names it. A field's help is its line under `Attributes:` (or `Args:`) in the class's
docstring; `field(metadata={"example": "clips/"})` gives the error for a missing key something to show. Annotations must
be resolvable at run time, so nothing that they name may be imported under `TYPE_CHECKING` alone.
"""

from __future__ import annotations

from vjepa_world.config.composition import compose, launcher_words
from vjepa_world.config.help import describe
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
