"""Datasets and real files that several tests use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.coded_video import coded_frame
from tests.paths import SHARED_DATA
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter

REAL_VIDEOS = SHARED_DATA / "videos"

# Lengths of the episodes of two shards: frame number = position in the shard's file.
SHARD_LENGTHS = ((12, 7, 9), (8, 11))


@pytest.fixture
def real_videos() -> Path:
    """Return the folder of real files, or skip."""
    if not REAL_VIDEOS.is_dir():
        pytest.skip(f"real videos are not here: {REAL_VIDEOS}")
    return REAL_VIDEOS


def make_writer(root: Path, image_shape: tuple[int, int, int] = (64, 64, 3), **changes: Any) -> LeRobotWriter:
    """Return the writer of the datasets in these tests."""
    spec = DatasetSpec(
        fps=5,
        state_names=("x", "y", "closure"),
        action_names=("dx", "dy"),
        robot_type="test_arm",
        cameras={"main": VideoSpec.encoded(*image_shape[:2], 5)},
    )
    return LeRobotWriter(root, dataclasses.replace(spec, **changes))


def episode_arrays(shard: int, start: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames, states and actions of an episode whose frames count from `start`."""
    rng = np.random.default_rng((shard, start))
    frames = np.stack([coded_frame(start + t + 100 * shard) for t in range(length)])
    return (
        frames,
        rng.normal(size=(length, 3)).astype(np.float32),
        rng.normal(size=(length - 1, 2)).astype(np.float32),
    )


def record_shard(writer: LeRobotWriter, shard: int) -> None:
    """Record the episodes of one shard."""
    with writer.shard(shard) as out:
        start = 0
        for length in SHARD_LENGTHS[shard]:
            out.add_episode(*episode_arrays(shard, start, length), task=f"task {length % 2}")
            start += length


@pytest.fixture(scope="session")
def dataset_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a finished dataset of two shards, five episodes; read only."""
    writer = make_writer(tmp_path_factory.mktemp("lerobot") / "set")
    for shard in (1, 0):  # finished out of order, as by parallel processes
        record_shard(writer, shard)
    return writer.finalize()
