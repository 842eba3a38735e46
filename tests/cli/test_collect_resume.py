"""A killed recording resumes, and its dataset equals that of a recording that was never killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.commands import ENV, run
from tests.paths import REPO
from vjepa_world.cli import collect
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.shard import ShardWriter
from vjepa_world.data.trajectories.formats.lerobot.writer import finished_shards

WORDS = ["collect", "episodes=100", "steps=4", "workers=1", "seed=3", *ENV]


def record_and_kill(home: Path) -> Path:
    """Start a recording in a session of its own and kill all of it once its first shard is there."""
    program = subprocess.Popen(
        [sys.executable, "-m", "vjepa_world", *WORDS, "name=killed"],
        cwd=home,
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    folder = home / "runs" / "collect" / "killed"
    deadline = time.monotonic() + 120
    while not finished_shards(folder) and program.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    os.killpg(program.pid, signal.SIGKILL)
    program.wait()
    return folder


def test_a_killed_recording_resumes_to_the_identical_dataset(tmp_path: Path) -> None:
    folder = record_and_kill(tmp_path)
    finished = finished_shards(folder)
    # A busy machine may let a further shard be finished before the kill arrives, but not all four.
    assert finished == [0, 25, 50, 75][: len(finished)]  # numbered by their first episodes
    assert 0 < len(finished) < 4
    assert not (folder / "meta" / "info.json").exists()
    first_shard = {path: path.stat().st_mtime_ns for path in folder.rglob("shard-00000/*")}
    assert first_shard
    assert run(tmp_path, *WORDS, "name=killed", "resume=true") == 0
    assert run(tmp_path, *WORDS, "name=whole") == 0
    resumed, whole = (LeRobotDataset(tmp_path / "runs" / "collect" / name) for name in ("killed", "whole"))
    assert resumed.num_episodes == whole.num_episodes == 100
    for index in range(100):
        ours, theirs = resumed.episode(index), whole.episode(index)
        np.testing.assert_array_equal(ours.states, theirs.states)
        np.testing.assert_array_equal(ours.actions, theirs.actions)
        np.testing.assert_array_equal(ours.timestamps_s, theirs.timestamps_s)
        assert torch.equal(ours.frames(), theirs.frames())
    left = sorted(path.relative_to(resumed.path).as_posix() for path in resumed.path.rglob("*"))
    assert left == sorted(path.relative_to(whole.path).as_posix() for path in whole.path.rglob("*"))
    assert run(tmp_path, *WORDS, "name=killed", "resume=true") == 0  # complete already


def test_a_slow_recording_is_kept_in_shorter_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of one episode each give the dataset of long ones."""
    words = [word for word in WORDS if not word.startswith("episodes")]
    assert run(tmp_path, *words, "episodes=3", "name=fast") == 0
    ended: list[int] = []
    monkeypatch.setattr(collect, "LONGEST_SHARD_S", 0.0)
    commit = ShardWriter.commit

    def counted(shard: ShardWriter) -> None:
        ended.append(1)
        commit(shard)

    monkeypatch.setattr(ShardWriter, "commit", counted)
    monkeypatch.setattr("vjepa_world.data.loading.worker_pool.spawned_map", in_this_process)
    assert run(tmp_path, *words, "episodes=3", "name=slow") == 0
    assert len(ended) == 3
    fast, slow = (LeRobotDataset(tmp_path / "runs" / "collect" / name) for name in ("fast", "slow"))
    assert slow.num_episodes == 3
    for index in range(3):
        np.testing.assert_array_equal(fast.episode(index).states, slow.episode(index).states)
        apart = fast.episode(index).frames().int() - slow.episode(index).frames().int()
        assert apart.abs().float().mean() < 3  # videos are lossy, and of other lengths


def in_this_process(work: Any, parts: Sequence[Any], *_: Any, **__: Any) -> Iterator[Any]:
    """Do what recording processes do."""
    return map(work, parts)


def test_resuming_with_more_episodes_records_them(tmp_path: Path) -> None:
    """A stopped recording of 3 episodes that is resumed with 5 must have 5, and must not record wrong counts."""
    few = [word for word in WORDS if not word.startswith("episodes")]
    assert run(tmp_path, *few, "episodes=3", "name=grown") == 0
    code = run(tmp_path, *few, "episodes=5", "name=grown", "resume=true")
    recorded = LeRobotDataset(tmp_path / "runs" / "collect" / "grown").num_episodes
    assert (code, recorded) in ((0, 5), (2, 3))
