"""docs/planning.md: its commands are accepted, and its Python runs with `planners` alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

from planners.registry import ENERGIES, PLANNERS
from tests.test_readme import REPO, blocks, check, commands

PAGE = (REPO / "docs" / "planning.md").read_text(encoding="utf-8")
BLOCKS = blocks(PAGE)

#: Nothing of this repository but `planners` may be found, even where it is installed.
ALONE = """
import sys
class Nowhere:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("vjepa_world", "envs", "mujoco", "gymnasium"):
            raise ImportError(f"{name} is not to be had here")
sys.meta_path.insert(0, Nowhere())
"""


def test_the_tables_have_every_planner_and_energy() -> None:
    rows = re.findall(r"^\| `(\w+)`, `(\w+)` \|", PAGE, re.MULTILINE)
    assert rows == [(name, entry.load().__name__) for name, entry in PLANNERS.items()]
    [row] = re.findall(r"^\| `energy=KIND`.*$", PAGE, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row) == [*ENERGIES]


def test_every_command_would_be_accepted() -> None:
    found = [words for block in BLOCKS if block.language == "bash" for words in commands(block.text)]
    assert len(found) > 2
    for words in found:
        check(words)


def test_planners_run_alone_on_a_model_of_ones_own(tmp_path: Path) -> None:
    shutil.copytree(REPO / "planners", tmp_path / "planners")
    scripts = [block.text for block in BLOCKS if block.language == "python"]
    assert len(scripts) == 2
    example = [line for line in scripts[0].splitlines() if line.strip()]
    assert len(example) <= 25
    for script in scripts:
        done = subprocess.run(
            [sys.executable, "-c", ALONE + script], cwd=tmp_path, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        if script is scripts[0]:
            x, y = map(float, re.findall(r"tensor\(\[ *([-\d.]+), +([-\d.]+)\]\)", done.stdout)[0])
            assert ((x - 0.5) ** 2 + (y + 0.3) ** 2) ** 0.5 < 0.01, done.stdout
