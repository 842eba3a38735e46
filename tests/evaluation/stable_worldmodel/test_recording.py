"""Datasets of stable-worldmodel as LeRobot datasets; the package is replaced by episodes in memory."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.errors import DataError
from vjepa_world.evaluation.stable_worldmodel import recording
from vjepa_world.evaluation.stable_worldmodel.recording import write_lerobot
from vjepa_world.evaluation.stable_worldmodel.worlds import world_spec

SIZE = 32
SPEC = world_spec("two_room")


class Episodes:
    """A dataset as the package reads it, with episodes of given lengths; each row's numbers say which it is."""

    def __init__(self, *lengths: int) -> None:
        self.lengths = np.array(lengths)

    def load_episode(self, number: int) -> dict[str, np.ndarray]:
        rows = int(self.lengths[number])
        numbers = np.stack([np.full(rows, number), np.arange(rows)], axis=1).astype(np.float32)
        pixels = np.full((rows, 3, SIZE, SIZE), 10 * number, np.uint8)
        return {"pixels": pixels, "action": numbers, **dict.fromkeys(SPEC.state, numbers)}


def read_as(episodes: Episodes, monkeypatch: pytest.MonkeyPatch) -> None:
    data = SimpleNamespace(load_dataset=lambda path: episodes)
    monkeypatch.setattr(recording, "package", lambda: SimpleNamespace(data=data))


def test_episodes_of_a_single_row_are_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(recording, "_SHARD", 2)
    read_as(Episodes(3, 1, 4, 2, 1), monkeypatch)
    with caplog.at_level(logging.WARNING):
        write_lerobot(SPEC, Path("own.lance"), tmp_path / "lerobot")
    assert "2 episodes of own.lance left out: a single row has no next one" in caplog.text
    written = open_trajectories(tmp_path / "lerobot")
    found = [written.episode(index) for index in range(written.num_episodes)]
    assert [(int(episode.states[0, 0]), len(episode)) for episode in found] == [(0, 3), (2, 4), (3, 2)]


def test_a_dataset_of_single_rows_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read_as(Episodes(1, 1), monkeypatch)
    with pytest.raises(
        DataError, match="none of the 2 episodes of own.lance has two rows; record longer ones"
    ):
        write_lerobot(SPEC, Path("own.lance"), tmp_path / "lerobot")
