"""MkDocs hook: fills the page of the public names from `vjepa_world/__init__.pyi`, by the package that has them."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import Any

STUB = Path(__file__).parents[1] / "vjepa_world" / "__init__.pyi"
PAGE = "reference/vjepa_world.md"
IMPORT = re.compile(r"^from vjepa_world\.((\w+)[\w.]*) import (\w+) as \w+$", re.MULTILINE)


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Append a section for each package, with a reference of each of its public names."""
    if page.file.src_uri != PAGE:
        return markdown
    names = IMPORT.findall(STUB.read_text(encoding="utf-8"))
    sections = [markdown]
    for package, members in groupby(names, key=lambda name: name[1]):
        sections.append(f"## {package.capitalize()}")
        sections += [f"::: vjepa_world.{module}.{name}" for module, _, name in members]
    return "\n\n".join(sections)
