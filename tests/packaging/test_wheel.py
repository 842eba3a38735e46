"""The wheel: what it contains, and that the demo runs from it in an empty environment, outside of the repository."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.paths import REPO

CPU_TORCH = "https://download.pytorch.org/whl/cpu"


def run(words: list[str], folder: Path, **environment: str) -> str:
    """Run a program outside of the repository and return its output."""
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        words, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], REPO)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_has_the_packages_and_their_files(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"vjepa_world", "planners", "envs"}
    packed = {f"vjepa_world/{path.relative_to(REPO)}" for path in (REPO / "configs").rglob("*.yaml")}
    for package in ("vjepa_world", "planners", "envs"):
        files = (path for path in (REPO / package).rglob("*") if path.is_file() and path.suffix != ".pyc")
        packed |= {str(path.relative_to(REPO)) for path in files}
    assert packed <= names


@pytest.mark.slow
def test_the_demo_runs_from_the_wheel_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    run([sys.executable, "-m", "venv", str(tmp_path / "venv")], tmp_path)
    torch = importlib.metadata.version("torch")
    index = ["--extra-index-url", CPU_TORCH] if torch.endswith("+cpu") else []
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    constraints = ["--constraint", str(REPO / "requirements.lock")]
    run([*pip, *index, *constraints, f"torch=={torch}", f"vjepa-world[sim] @ file://{wheel}"], tmp_path)
    program = str(python.with_name("vjepa-world"))
    assert run([program, "--version"], tmp_path).split()[1] == importlib.metadata.version("vjepa-world")
    assert "vit_nano" in run([program, "pretrain", "--help"], tmp_path)
    assert "world model" in run([program, "demo"], tmp_path, OMP_NUM_THREADS="2")
    result = json.loads((tmp_path / "runs" / "demo" / "result.json").read_text())
    assert result["success_rate"] >= 0.8
