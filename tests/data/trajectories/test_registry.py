"""Unknown trajectory formats are refused with a list of formats; other packages can register formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.paths import REPO
from vjepa_world.data.trajectories.in_memory import InMemoryDataset
from vjepa_world.data.trajectories.registry import (
    formats,
    is_trajectories,
    open_trajectories,
    register_format,
)
from vjepa_world.errors import DataError
from vjepa_world.registry import RegistryError


def test_a_missing_dataset_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere does not exist"):
        open_trajectories(tmp_path / "nowhere")
    assert not is_trajectories(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["folder", "empty.csv", "names.csv", "a.npz", "text.npz", "video.mp4", "cut.h5"]
)
def test_the_known_formats_are_listed(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
    elif name == "a.npz":
        np.savez(path, states=np.zeros(3))
    else:
        path.write_text("" if name == "empty.csv" else "clip.mp4 0\n")
    assert not is_trajectories(path)
    with pytest.raises(DataError, match="holds trajectories of no known format") as caught:
        open_trajectories(path)
    assert str(path) in str(caught.value)
    assert all(f"{entry.name}: {entry.description}" in str(caught.value) for entry in formats())


READER = """
import json
from pathlib import Path

import numpy as np

from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.data.trajectories.registry import register_format
from vjepa_world.ops.convention import Convention


@register_format("mylog", description="a *.mylog file", recognises=lambda path: path.suffix == ".mylog")
def read_mylog(
    path: Path, *, convention: Convention | None = None, fps: float = 10.0
) -> TrajectoryDataset:
    episodes = []
    for log in json.loads(path.read_text()):
        frames = np.full((len(log["joints"]), 64, 64, 3), 100, np.uint8)
        frames[:, :, :, 0] = np.arange(len(frames))[:, None, None]
        episodes.append(
            EpisodeArrays(
                states=np.array(log["joints"]), actions=np.array(log["commands"]), frames=frames
            )
        )
    return InMemoryDataset(episodes, fps=fps, convention=convention, name=str(path))
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder with an installed package that registers a format through an entry point."""
    root = tmp_path / "site"
    (root / "mylog-1.0.dist-info").mkdir(parents=True)
    (root / "mylog_reader.py").write_text(READER)
    (root / "mylog-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: mylog\nVersion: 1.0\n")
    (root / "mylog-1.0.dist-info/entry_points.txt").write_text(
        "[vjepa_world.formats]\nmylog = mylog_reader:read_mylog\n"
    )
    rng = np.random.default_rng(0)
    logs = [
        {"joints": rng.normal(size=(8, 3)).tolist(), "commands": rng.normal(size=(7, 2)).tolist()}
        for _ in range(4)
    ]
    (tmp_path / "run.mylog").write_text(json.dumps(logs))
    return root


def run_command(package: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(package), str(REPO)])}
    command = [sys.executable, "-m", "vjepa_world", *words]
    return subprocess.run(command, env=environment, cwd=package.parent, capture_output=True, text=True)


def test_the_command_line_reads_the_format_of_another_package(package: Path) -> None:
    described = run_command(package, "inspect", "run.mylog", "--json", "--reader", "fps=4")
    assert described.returncode == 0, described.stderr
    found = json.loads(described.stdout)
    assert (found["num_episodes"], found["fps"], found["lengths"]) == (4, 4.0, [8, 8, 8, 8])
    wrong = run_command(package, "inspect", "run.mylog", "--reader", "rate=4")
    assert wrong.returncode == 2
    assert "run.mylog is mylog, whose reader has no option 'rate'" in wrong.stderr
    converted = run_command(package, "convert", "run.mylog", "dataset")
    assert converted.returncode == 0, converted.stderr
    assert open_trajectories(package.parent / "dataset").num_episodes == 4


def test_a_format_of_another_package_that_cannot_be_imported_is_reported(package: Path) -> None:
    (package / "mylog_reader.py").write_text("import nothing_of_this_name\n")
    broken = run_command(package, "inspect", "run.mylog")
    assert broken.returncode == 2
    assert "the format 'mylog' of the installed package 'mylog' cannot be imported" in broken.stderr


def test_a_format_can_be_registered_only_once() -> None:
    with pytest.raises(RegistryError, match="the format 'DROID' is registered already"):
        register_format("DROID", description="", recognises=Path.exists)(InMemoryDataset)
