"""Groups of a command's YAML: `model=vit_tiny` selects `configs/model/vit_tiny.yaml`. Hydra is slow, so it is not used.

An option is a file, or a kind that a registry knows (`planner=icem` is `planner.kind=icem` with its defaults).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from vjepa_world.config.schema import kinds_of, type_at
from vjepa_world.config.text import read_yaml_file
from vjepa_world.config.values import overlay, with_defaults
from vjepa_world.registry import KIND

#: First line of an option whose keys begin at the top, not in the section of the group.
_GLOBAL = "# @package _global_"


def groups_of(command: str, folder: Path) -> dict[str, str]:
    """Return the groups in the defaults list of `COMMAND.yaml`, each with the option that stands there."""
    path = folder / f"{command}.yaml"
    entries = read_yaml_file(path).get("defaults", []) if path.is_file() else []
    pairs = [item for entry in entries if isinstance(entry, dict) for item in entry.items()]
    return {str(group).removeprefix("override ").lstrip("/"): str(option) for group, option in pairs}


def options_of(group: str, folder: Path, schema: type) -> list[str]:
    """Return the options of a group: its YAML files, and the kinds of the field of its name."""
    files = {path.stem for path in (folder / group.split("@")[0]).glob("*.yaml")}
    return sorted({*files, *kinds_of(type_at(schema, group))})


def default_tree(command: str, schema: type, folder: Path) -> dict[str, Any]:
    """Return the configuration of a command to which nothing is given, as `compose` makes it, as plain containers."""
    path = folder / f"{command}.yaml"
    given: dict[str, Any] = {}
    for group, option in groups_of(command, folder).items():
        given = overlay(given, option_tree(group, folder / group / f"{option}.yaml"))
    if path.is_file():
        given = overlay(given, _without_defaults(path))
    return with_defaults(schema, given)


def option_tree(group: str, file: Path) -> dict[str, Any]:
    """Return the keys of a group's option; without a file the option is a kind of its name."""
    if not file.is_file():
        return {group: {KIND: file.stem}}
    keys = _without_defaults(file)
    return keys if file.read_text(encoding="utf-8").startswith(_GLOBAL) else {group: keys}


def _without_defaults(file: Path) -> dict[str, Any]:
    return {key: value for key, value in read_yaml_file(file).items() if key != "defaults"}
