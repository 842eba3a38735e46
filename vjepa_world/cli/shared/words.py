"""What follows a command on the command line, as `key=value` words.

Every command takes `key=value`, and the same keys as flags: `--key value`, `--key=value`; `--flag` and `--no-flag` for
true and false; several values for a list (`--image a.png b.png`); `NAME=VALUE` for the keys below a key (`--convention
rotation=XYZ`).
Words without a key are the command's positional arguments. `--` ends the flags.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Sequence
from typing import Any

from vjepa_world.config.quoting import list_of, text_of
from vjepa_world.config.schema import (
    dataclasses_in,
    is_text,
    kinds_of,
    type_at,
    unknown_key,
    without_none,
)
from vjepa_world.errors import ConfigError

_KEY = re.compile(r"[A-Za-z_][\w.]*=", re.DOTALL)


def key_values(words: Sequence[str], schema: type, positional: Sequence[str] = ()) -> list[str]:
    """Return the words of a command as `key=value`.

    Args:
        words: As typed.
        schema: The command's dataclass.
        positional: Keys that words without a key are given to, one each; a list takes all that are left.

    Raises:
        ConfigError: If a flag is not a key or has no value, or there are more words than positional arguments.
    """
    left, bare, found = list(words), [], []
    while left:
        word = left.pop(0)
        if word == "--":
            bare += left
            break
        if word.startswith("--"):
            found += _flag(word, left, schema)
        elif _KEY.match(word) or word.startswith("-"):
            found.append(word)
        else:
            bare.append(word)
    return [*_positional(bare, schema, positional), *found]


def _positional(words: list[str], schema: type, keys: Sequence[str]) -> list[str]:
    found = []
    for key in keys:
        if words and _is_list(type_at(schema, key)):
            found.append(f"{key}={list_of(words)}")
            words = []
        elif words:
            text = words.pop(0)
            found.append(f"{key}={text_of(text) if is_text(type_at(schema, key)) else text}")
    if words and keys:
        raise ConfigError(f"got '{words[0]}', expected key=value. Given already: {', '.join(keys)}.")
    return [*found, *words]  # one too many is refused as a word without a key


def _flag(word: str, left: list[str], schema: type) -> list[str]:
    """Return the words of a flag, with its values taken off the words that are left."""
    name, equals, value = word.removeprefix("--").partition("=")
    key = name.replace("-", "_")
    kind = type_at(schema, key)
    if kind is None and key.startswith("no_") and type_at(schema, key.removeprefix("no_")) is bool:
        return [f"{key.removeprefix('no_')}=false"]
    if kind is None:
        raise ConfigError(unknown_key(key, schema, {}))
    if equals:
        return [f"{key}={value}"]
    if without_none(kind) is bool:
        return [f"{key}={left.pop(0)}" if left and left[0] in ("true", "false") else f"{key}=true"]
    if _is_named(kind) and not (kinds_of(kind) and left and "=" not in left[0]):
        pairs = _take(left, lambda text: _KEY.match(text) is not None and not _ends_values(text, schema))
        if not pairs:
            raise ConfigError(f"{word} is given without a value; give {word} NAME=VALUE")
        return [f"{key}.{pair}" for pair in pairs]
    values = _take(left, lambda text: not _ends_values(text, schema)) if _is_list(kind) else left[:1]
    if not values or values[0].startswith("--"):
        raise ConfigError(f"{word} is given without a value; give {word} VALUE")
    if _is_list(kind):
        return [f"{key}={list_of(values) if _holds_text(kind) else '[' + ','.join(values) + ']'}"]
    return [f"{key}={left.pop(0)}"]


def _take(left: list[str], wanted: typing.Callable[[str], bool]) -> list[str]:
    """Take the words off the front of `left` that are wanted."""
    taken = []
    while left and wanted(left[0]):
        taken.append(left.pop(0))
    return taken


def _ends_values(word: str, schema: type) -> bool:
    """Say whether a word ends the values of a list: a flag, or a key of the command with its value."""
    key = word.partition("=")[0]
    return word.startswith("--") or (_KEY.match(word) is not None and type_at(schema, key) is not None)


def _is_list(kind: Any) -> bool:
    return typing.get_origin(without_none(kind)) in (tuple, list)


def _is_named(kind: Any) -> bool:
    """Say whether there are keys below this one."""
    return typing.get_origin(without_none(kind)) is dict or bool(dataclasses_in(kind))


def _holds_text(kind: Any) -> bool:
    return is_text(typing.get_args(without_none(kind))[0])
