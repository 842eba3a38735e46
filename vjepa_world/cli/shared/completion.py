"""Completion of words in a shell: commands, groups with their options, keys, their choices, and paths.

`vjepa-world completion bash` prints what a shell reads (`eval "$(vjepa-world completion bash)"`). It calls
`vjepa-world completion --line TEXT` for each completion, which prints one candidate per line. A candidate that ends in
a space ends the word.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from vjepa_world.cli.shared.commands import COMMANDS, command_module, file_name
from vjepa_world.config.groups import groups_of, options_of
from vjepa_world.config.location import config_root
from vjepa_world.config.schema import dataclasses_in, fields_of, is_text, kinds_of, type_at, without_none
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.registry import KIND

_BASH = r"""
_vjepa_world() {
    local line="${COMP_LINE:0:COMP_POINT}" reply
    local word="${line##*[[:space:]]}" shown=""
    # bash replaces only what follows the last '=' or ':' of the word
    if [[ "$COMP_WORDBREAKS" == *=* && "$word" == *=* ]]; then shown="${word%"${word##*=}"}"; fi
    if [[ "$COMP_WORDBREAKS" == *:* && "$word" == *:* ]]; then shown="${word%"${word##*[:=]}"}"; fi
    COMPREPLY=()
    while IFS= read -r reply; do
        COMPREPLY+=("${reply#"$shown"}")
    done < <(vjepa-world completion --line "$line" 2>/dev/null)
}
complete -o nospace -F _vjepa_world vjepa-world
"""

_ZSH = r"""
#compdef vjepa-world
_vjepa_world() {
    local -a open closed
    local reply
    for reply in "${(@f)$(vjepa-world completion --line "${(j: :)words[1,CURRENT]}" 2>/dev/null)}"; do
        if [[ "$reply" == *' ' ]]; then closed+=("${reply% }"); elif [[ -n "$reply" ]]; then open+=("$reply"); fi
    done
    compadd -Q -S '' -- $open
    compadd -Q -- $closed
}
compdef _vjepa_world vjepa-world
"""

_FISH = r"""
complete -c vjepa-world -f -a '(vjepa-world completion --line (commandline -cp) 2>/dev/null | string trim)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
_OPTIONS = ("--config", "--help", "--help-all", "--print-config")


def completion(words: Sequence[str]) -> str:
    """Return what `vjepa-world completion WORDS` prints.

    Raises:
        ConfigError: If the shell is not known.
    """
    if len(words) == 2 and words[0] == "--line":
        return "\n".join(candidates(words[1]))
    if len(words) != 1 or words[0] not in SCRIPTS:
        got = " ".join(words)
        raise ConfigError(f"got '{got}', expected the name of a shell; {nearest(got, SCRIPTS)}")
    return SCRIPTS[words[0]].strip()


def candidates(line: str) -> list[str]:
    """Return what may stand in the place of the last word of a command line, which may be empty."""
    words = re.split(r"\s+", line.lstrip())
    last = words[-1]
    if len(words) <= 2:
        return [
            f"{name} " for name in (*COMMANDS, "completion", "--help", "--version") if name.startswith(last)
        ]
    if words[1] == "completion":
        return [f"{name} " for name in SCRIPTS if name.startswith(last)]
    if words[1] not in COMMANDS:
        return []
    if words[-2] == "--config":
        return [_ended(path) for path in _paths(last)]
    return sorted(dict.fromkeys(_after_command(words[1], last, words[-2])))


def _after_command(command: str, last: str, before: str) -> Iterator[str]:
    schema, folder = command_module(command).Config, config_root()
    groups = groups_of(file_name(command), folder)
    dashes = "--" if last.startswith("--") else ""
    key, equals, value = last.removeprefix("--").partition("=")
    flag = (
        before.removeprefix("--").replace("-", "_") if before.startswith("--") and "=" not in before else ""
    )
    kind_of_flag = type_at(schema, flag) if flag else None
    if equals:
        section = key.removesuffix(f".{KIND}")
        options = options_of(key, folder, schema) if key in groups else kinds_of(type_at(schema, section))
        for choice in (*options, *_values(type_at(schema, key.replace("-", "_")), value)):
            if choice.startswith(value):
                yield f"{dashes}{key}={_ended(choice)}"
        return
    if kind_of_flag is not None and kind_of_flag is not bool and not last.startswith("-"):
        yield from (_ended(choice) for choice in _values(kind_of_flag, last) if choice.startswith(last))
        return
    if last.startswith("-"):
        yield from (f"{option} " for option in _OPTIONS if option.startswith(last))
    ends = "" if dashes else "="
    for name in _keys(schema, key, groups):
        if name.startswith(key):
            yield dashes + name + ("" if name.endswith(".") else ends)
    if COMMANDS[command].positional and not dashes:
        yield from map(_ended, _paths(last))


def _ended(choice: str) -> str:
    """Return a value with the space that ends its word; a folder is gone into."""
    return choice if choice.endswith("/") else f"{choice} "


def _keys(schema: type, start: str, groups: Sequence[str] | dict[str, str]) -> Iterator[str]:
    """Yield the keys of the level that `start` is on; a section ends in a dot."""
    parents = start.split(".")[:-1]
    owners: list[type] = [schema]
    for parent in parents:
        inner = [fields_of(owner)[parent] for owner in owners if parent in fields_of(owner)]
        by_name = [typing.get_args(kind)[1] for kind in inner if typing.get_origin(kind) is dict]
        owners = [option for kind in (*inner, *by_name) for option in dataclasses_in(kind)]
    prefix = "".join(f"{parent}." for parent in parents)
    for owner in owners:
        for name, kind in fields_of(owner).items():
            is_section = dataclasses_in(kind) or typing.get_origin(kind) is dict
            yield prefix + name + ("." if is_section else "")
    if not parents:
        yield from groups


def _values(kind: Any, start: str) -> Iterator[str]:
    """Yield the values that an annotation allows; paths where it is a text."""
    inner = without_none(kind)
    if inner is bool:
        yield from ("true", "false")
    elif typing.get_origin(inner) is Literal:
        yield from map(str, typing.get_args(inner))
    elif isinstance(inner, type) and issubclass(inner, Enum):
        yield from (str(member.value) for member in inner)
    elif kinds_of(inner):
        yield from kinds_of(inner)
    elif inner is not None and (is_text(inner) or any(is_text(entry) for entry in typing.get_args(inner))):
        yield from _paths(start)


def _paths(start: str) -> Iterator[str]:
    """Yield files and folders whose path begins with `start`; a folder ends in a slash."""
    folder, name = Path(start[: start.rfind("/") + 1] or "."), start[start.rfind("/") + 1 :]
    if not folder.expanduser().is_dir():
        return
    prefix = start[: start.rfind("/") + 1]
    for entry in sorted(folder.expanduser().iterdir()):
        if entry.name.startswith(name) and (name.startswith(".") or not entry.name.startswith(".")):
            yield prefix + entry.name + ("/" if entry.is_dir() else "")
