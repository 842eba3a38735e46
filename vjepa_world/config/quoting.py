"""What people type, as Hydra is to read it: text is text, whatever letters it has.

Hydra's grammar would read `2024`, `a,b` and `clip(1).mp4` as something else than a text, and OmegaConf would replace
`${x}`. So texts are put in quotes, and until the configuration is composed `$` travels as a character that no text has
(U+FDD0, which Unicode keeps for such uses). References in YAML files are untouched.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from vjepa_world.config.schema import is_text, is_union

_DOLLAR = "\ufdd0"

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_SWEEP = re.compile(r"(?:choice|range|interval|glob|shuffle|sort|tag)\(.*\)", re.DOTALL)
_NO_TEXT = re.compile(
    r"(?:[-+]?\.?\d[\d_.]*(?:[eE][-+]?\d+)?|[-+]?(?:inf|nan)|true|false|null)", re.IGNORECASE
)
_OPENING, _CLOSING = "[{(", "]})"


def hydra_value(value: str, kind: Any, sweep: bool = False) -> str:
    """Return the value of a key as Hydra is to read it.

    Args:
        value: As typed. A value in quotes is what stands between them.
        kind: The key's annotation.
        sweep: Commas outside of quotes and brackets separate several values, and Hydra's functions of values are known.
    """
    if sweep:
        if _SWEEP.fullmatch(value):
            return _escape_dollar_in(value)
        return ",".join(hydra_value(part, kind) for part in split_commas(value))
    if value == "":
        return "''" if is_text(kind) else "null"
    if is_text(kind):
        return _quoted(value, kind)
    if _holds_texts(kind) and value[0] == "[" and value[-1] == "]":
        return "[" + ",".join(_quoted(part.strip(), str) for part in split_commas(value[1:-1])) + "]"
    is_plain = value[0] not in "[{" and not _QUOTED.fullmatch(value)
    if is_plain and ("$" in value or (kind is Any and not _NO_TEXT.fullmatch(value))):
        return _quoted(value, kind)
    return _escape_dollar_in(value)


def typed_value(value: str) -> str:
    """Return what was typed of a text that `hydra_value` has put in quotes."""
    if not _QUOTED.fullmatch(value):
        return unescape_dollar(value)
    quote, inner = value[0], value[1:-1]
    inner = re.sub(rf"(\\+){quote}", lambda found: "\\" * (len(found[1]) // 2) + quote, inner)
    inner = re.sub(r"(\\+)$", lambda found: "\\" * (len(found[1]) // 2), inner)
    return unescape_dollar(inner)


def unescape_dollar(tree: Any) -> Any:
    """Return texts, or containers of them, with `$` in place of the character that `hydra_value` put there."""
    if isinstance(tree, str):
        return tree.replace(_DOLLAR, "$")
    if isinstance(tree, dict):
        return {unescape_dollar(key): unescape_dollar(value) for key, value in tree.items()}
    return [unescape_dollar(entry) for entry in tree] if isinstance(tree, list) else tree


def escape_dollar(tree: Any) -> Any:
    """Return texts, or containers of them, with every `$` replaced; `unescape_dollar` reverses it."""
    if isinstance(tree, str):
        return _escape_dollar_in(tree)
    if isinstance(tree, dict):
        return {escape_dollar(key): escape_dollar(value) for key, value in tree.items()}
    return [escape_dollar(entry) for entry in tree] if isinstance(tree, list) else tree


def text_of(text: str) -> str:
    """Return a text as the value of a key that holds a text; quotes are part of it."""
    return _escaped(text)


def list_of(texts: Sequence[str]) -> str:
    """Return texts as the value of a key that holds a list of texts."""
    return "[" + ",".join(_escaped(text) for text in texts) + "]"


def split_commas(text: str) -> list[str]:
    """Return the parts between commas that are outside of quotes and brackets; none of an empty text."""
    return list(_parts(text)) if text.strip() else []


def _parts(text: str) -> Iterator[str]:
    depth = start = index = 0
    while index < len(text):
        letter = text[index]
        quoted = _QUOTED.match(text, index) if letter in "'\"" else None
        if quoted is not None:
            index = quoted.end()
            continue
        if letter in _OPENING:
            depth += 1
        elif letter in _CLOSING:
            depth -= 1
        elif letter == "," and depth == 0:
            yield text[start:index]
            start = index + 1
        index += 1
    yield text[start:]


def _quoted(value: str, kind: Any) -> str:
    if value == "null" and type(None) in typing.get_args(kind):
        return value
    if _QUOTED.fullmatch(value):
        return _escape_dollar_in(value)
    return _escape_dollar_in(_escaped(value))


def _escaped(text: str) -> str:
    """Return a text in the quotes of Hydra's grammar."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", text)
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"'{escaped}'"


def _holds_texts(kind: Any) -> bool:
    """Say whether the annotation is a list or tuple of texts (or None)."""
    if is_union(kind):
        return all(arm is type(None) or _holds_texts(arm) for arm in typing.get_args(kind))
    inner = [argument for argument in typing.get_args(kind) if argument is not Ellipsis]
    return typing.get_origin(kind) in (tuple, list) and bool(inner) and all(map(is_text, inner))


def _escape_dollar_in(text: str) -> str:
    return text.replace("$", _DOLLAR)
