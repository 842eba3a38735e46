"""The benchmark of trajectory windows is timed, and its frames are compared with those of the complete files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from vjepa_world.bench import data, trajectory_windows
from vjepa_world.bench.trajectory_windows import windows_per_second, write_trajectories


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(data, "FRAMES", 70)
    monkeypatch.setattr(trajectory_windows, "ROWS", 20)
    monkeypatch.setattr(trajectory_windows, "BATCH", 2)
    videos = [data._write_video(tmp_path / f"{number}.mp4", seed=number) for number in range(2)]
    return write_trajectories(tmp_path / "set", videos)


def test_windows_are_timed(path: Path) -> None:
    assert windows_per_second(path, 20, seed=0) > 0


def test_wrong_frames_are_detected(path: Path) -> None:
    windows = trajectory_windows._Windows(path, 6, seed=0)
    read = torch.stack([windows[index] for index in range(6)])
    assert read.shape == (6, trajectory_windows.WINDOW, 3, trajectory_windows.SIDE, trajectory_windows.SIDE)
    trajectory_windows._compare(path, windows, read)
    read[3, 5, 1, 64, 64] ^= 1
    with pytest.raises(RuntimeError, match="window 3, frame 5: it is not frame"):
        trajectory_windows._compare(path, windows, read)
    assert len(np.unique(windows.episodes)) == 2
