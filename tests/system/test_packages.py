"""A package that hides one of ours is reported, and a missing one with how to install it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import REPO
from vjepa_world.system.packages import check_siblings


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, which is on its path before the repository."""
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{REPO}"}
    return subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def write_package(folder: Path, name: str) -> Path:
    file = folder / name / "__init__.py"
    file.parent.mkdir()
    file.touch()
    return file


def test_our_packages_are_found() -> None:
    check_siblings()
    check_siblings("envs")


@pytest.mark.parametrize(
    ("hidden", "command"),
    [
        ("envs", "collect name=c episodes=1 steps=1 workers=1"),
        ("envs", "demo"),
        ("planners", "evaluate name=e"),
        ("planners", "plan --image a.png --goal b.png --state 0 0 0 0 0 0 0"),
    ],
)
def test_a_command_names_what_hides_a_package(tmp_path: Path, hidden: str, command: str) -> None:
    file = write_package(tmp_path, hidden)
    done = run(tmp_path, "-m", "vjepa_world", *command.split())
    assert done.returncode == 2
    assert f"'import {hidden}' finds {file}, which hides the package '{hidden}' of vjepa-world" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_module_hides_too(tmp_path: Path) -> None:
    (tmp_path / "planners.py").touch()
    done = run(tmp_path, "-m", "vjepa_world", "evaluate", "name=e")
    assert done.returncode == 2 and f"finds {tmp_path / 'planners.py'}" in done.stderr


def test_commands_that_do_not_need_it_run_next_to_a_foreign_package(tmp_path: Path) -> None:
    write_package(tmp_path, "envs")
    code = "import vjepa_world; print(vjepa_world.load_encoder, vjepa_world.EncoderConfig)"
    assert run(tmp_path, "-c", code).returncode == 0
    assert run(tmp_path, "-m", "vjepa_world", "inspect", "--help").returncode == 0


def test_a_missing_mujoco_is_reported_with_what_to_install() -> None:
    code = "import sys; sys.modules['mujoco'] = None; from vjepa_world.cli.main import main; sys.exit(main(['demo']))"
    done = run(REPO, "-c", code)
    assert done.returncode == 2
    assert "needs MuJoCo, which is not installed: pip install 'vjepa-world[sim]'" in done.stderr
