"""The documentation: every command is accepted, every page is in the navigation, and the site builds strictly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.paths import REPO
from tests.test_readme import OTHER_PROGRAMS, blocks, check, commands

DOCS = REPO / "docs"
#: Pages whose blocks have tests of their own run somewhere else.
PAGES = [
    DOCS / "index.md",
    DOCS / "troubleshooting.md",
    *DOCS.glob("tutorials/*.md"),
    *DOCS.glob("howto/*.md"),
]
SYSTEM_PROGRAMS = {"apt", "ffmpeg"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_would_be_accepted(page: Path) -> None:
    for block in blocks(page.read_text(encoding="utf-8")):
        for words in commands(block.text) if block.language == "bash" else []:
            if words[0] not in SYSTEM_PROGRAMS | OTHER_PROGRAMS:
                check(words)


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: object) -> list[str]:
        if isinstance(entry, dict):
            return [page for value in entry.values() for page in pages(value)]
        return [page for item in entry for page in pages(item)] if isinstance(entry, list) else [str(entry)]

    text = (REPO / "mkdocs.yml").read_text(encoding="utf-8")
    assert sorted(pages(yaml.safe_load(text)["nav"])) == sorted(
        str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")
    )


@pytest.mark.slow
def test_the_site_builds_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    words = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=REPO, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "vjepa_world.training.pretrain.pretrain.pretrain" in (
        tmp_path / "site" / "reference" / "vjepa_world" / "index.html"
    ).read_text(encoding="utf-8")
