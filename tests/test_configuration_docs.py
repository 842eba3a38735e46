"""docs/configuration.md: its commands are accepted, and its Python runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from planners.registry import ENERGIES, PLANNERS
from tests.paths import REPO
from tests.test_readme import blocks, check, commands
from vjepa_world.cli.main import main

PAGE = (REPO / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)
COMMANDS = [words for block in BLOCKS if block.language == "bash" for words in commands(block.text)]


def test_the_groups_have_every_planner_and_energy() -> None:
    options = dict(re.findall(r"^\| `(planner|energy)` \| (.*) \|$", PAGE, re.MULTILINE))
    kinds, presets = (re.findall(r"`(\w+)`", part) for part in options["planner"].split(";"))
    assert kinds == [*PLANNERS]
    assert set(presets) == {path.stem for path in (REPO / "configs" / "planner").glob("*.yaml")}
    assert re.findall(r"`(\w+)`", options["energy"]) == [*ENERGIES]


def test_every_command_would_be_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = [words for words in COMMANDS if words[0] == "vjepa-world" and words[1] != "completion"]
    assert len(ours) >= 5
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mppi.yaml").write_text("planner: {kind: mppi}\n")
    for words in ours:
        if "--help-all" in words:
            assert main(words[1:]) == 0, words
        else:
            check([word for word in words if word not in ("--print-config", "--config", "mppi.yaml")])


def test_the_python_runs(capsys: pytest.CaptureFixture[str]) -> None:
    [block] = [block for block in BLOCKS if block.language == "python"]
    exec(block.text, {})
    assert "kind: icem" in capsys.readouterr().out
