"""Tables of the report: the files that could not be read, settings, provenance, result."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from vjepa_world.errors import CheckpointError
from vjepa_world.files.validation import read_json_object
from vjepa_world.runs import CONFIG_FILE, RunError

BAD_FILES, RESULT = "bad_files.csv", "result.json"

#: Bad files that are listed.
LISTED = 200


def bad_files(folder: Path) -> str:
    """Return the table of files that could not be read, where there were some."""
    from vjepa_world.reports import page as html

    path = folder / BAD_FILES
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", newline="") as stream:
        head, *rows = [*csv.reader(stream)] or [[]]
    if not rows:
        return ""
    more = f" The first {LISTED} are shown; {path} has all." if len(rows) > LISTED else ""
    return html.paragraph(f"{len(rows)} files.{more}") + html.table(rows[:LISTED], head)


def settings(folder: Path) -> str:
    """Return the run's settings, where its checkpoint is from, and its result, each folded."""
    from vjepa_world.config import flatten, read_yaml_file
    from vjepa_world.reports import page as html

    parts = []
    if (folder / CONFIG_FILE).is_file():
        values = read_yaml_file(folder / CONFIG_FILE)
        parts.append(html.folded("settings", html.table(flatten(values).items())))
    for title, content in (
        ("provenance of the checkpoint", _provenance(folder)),
        ("result", _result(folder)),
    ):
        if content:
            parts.append(html.folded(title, html.table(flatten(content).items())))
    return "".join(parts)


def _provenance(folder: Path) -> dict[str, Any]:
    """Return what the newest checkpoint remembers beside the settings; nothing without one."""
    from vjepa_world.pretrained.native import find_checkpoint, read_config

    try:
        description = read_config(folder)
        found = {"checkpoint": find_checkpoint(folder).name, "kind": description["kind"]}
    except CheckpointError:
        return {}
    return found | {name: value for name, value in description["provenance"].items() if name != "config"}


def _result(folder: Path) -> dict[str, Any]:
    """Return the content of `result.json`; nothing without one.

    Raises:
        RunError: If it is broken.
    """
    path = folder / RESULT
    if not path.is_file():
        return {}
    return read_json_object(path, again="Remove it, or evaluate again.", error=RunError)
