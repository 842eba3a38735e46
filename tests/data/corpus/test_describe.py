"""Descriptions of corpora and datasets, including bad files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.coded_video import write_coded
from tests.data.conftest import SHARD_LENGTHS, episode_arrays
from vjepa_world.data.corpus.describe import describe_videos
from vjepa_world.data.trajectories.description import describe_dataset
from vjepa_world.data.trajectories.description_text import convention_words, dataset_text
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import PLAIN, Convention


def test_videos_are_described_with_the_bad_ones(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 2000, 100))
    write_coded(tmp_path / "b.mkv", range(0, 4000, 100))
    (tmp_path / "empty.mp4").touch()
    description = describe_videos(tmp_path)
    assert [video.path.name for video in description.videos] == ["a.mp4", "b.mkv"]
    assert description.duration_s == pytest.approx(6.0)
    assert description.num_segments == 2
    text = description.render()
    for part in (
        "2 videos, 6.0 s in all, 1 bad",
        "codecs: h264 (2)",
        "sizes: 64x64 (2)",
        "empty.mp4: it has zero bytes",
    ):
        assert part in text
    assert "... and 1 more" in description.render(most=1)
    with pytest.raises(DataError, match="No video found"):
        describe_videos(tmp_path / "b.mkv" / ".." / "*.avi")


def test_a_dataset_is_described_with_its_ranges(dataset_root: Path) -> None:
    description = describe_dataset(open_trajectories(dataset_root))
    starts = [
        (s, sum(lengths[:i]), n) for s, lengths in enumerate(SHARD_LENGTHS) for i, n in enumerate(lengths)
    ]
    states = np.concatenate([episode_arrays(*start)[1] for start in starts])
    assert [feature.low for feature in description.state] == pytest.approx(states.min(axis=0).tolist())
    assert [feature.mean for feature in description.state] == pytest.approx(
        states.mean(axis=0).tolist(), abs=1e-6
    )
    assert description.lengths == tuple(length for lengths in SHARD_LENGTHS for length in lengths)
    assert description.frame_episodes == 5
    text = dataset_text(description)
    for part in (
        "LeRobotDataset of 5 episodes, 47 frames at 5/s",
        "robot test_arm",
        "7 to 12",
        "64x64, h264",
        "closure",
        "task 1 (3)",
    ):
        assert part in text
    videos = describe_videos(dataset_root)
    assert (len(videos.videos), videos.num_segments) == (2, 5)


def test_a_subset_of_episodes_is_described_on_request(dataset_root: Path) -> None:
    dataset = open_trajectories(dataset_root)
    description = describe_dataset(dataset, episodes=2)
    lengths = [length for lengths in SHARD_LENGTHS for length in lengths]
    assert description.lengths == (lengths[0], lengths[2])
    assert description.frame_episodes == 2
    assert "of 5 episodes (2 of them read)" in dataset_text(description)
    with pytest.raises(ConfigError, match="episodes to check is 0"):
        describe_dataset(dataset, episodes=0)


@pytest.mark.parametrize(
    ("convention", "parts"),
    [
        (
            Convention(),
            {
                "position": "x, y, z (state 0, 1, 2) in m",
                "rotation": "a, b, c (state 3, 4, 5): Euler angles about the fixed axes x y z in rad",
                "gripper": "g (state 6): 0 open, 1 closed",
                "frame": "the robot's base",
            },
        ),
        (
            Convention(rotation="ZYX", angle_unit="deg", gripper_at=(9,), frame=(1, 0, 0, 0, 0, 0.5)),
            {
                "rotation": "a, b, c (state 3, 4, 5): Euler angles about the moving axes Z Y X in deg",
                "gripper": "(state 9): 0 open, 1 closed",
                "frame": "1, 0, 0, 0, 0, 0.5 in the robot's base",
            },
        ),
        (
            PLAIN,
            {
                "pose": "none is declared; numbers are taken as they are (name it with --convention position_at=...)"
            },
        ),
    ],
)
def test_a_convention_in_words(convention: Convention, parts: dict[str, str]) -> None:
    words = convention_words(convention, list("xyzabcg"))
    assert {key: words[key] for key in parts} == parts
