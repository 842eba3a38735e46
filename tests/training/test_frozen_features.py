"""A dataset seen through an encoder: every frame once, bad episodes counted."""

from __future__ import annotations

import logging
from collections.abc import Collection

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_world.data.trajectories.base import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.training.frozen_features import FrozenFeatures, encode_dataset

LENGTHS = (4, 2, 5, 3)


class Episodes:
    """Episodes in memory; the images of those in `bad` cannot be decoded, the rows of those in `missing` not read."""

    fps = 4.0
    state_names = ("x", "y")
    action_names = ("dx",)

    def __init__(self, bad: Collection[int] = (), missing: Collection[int] = ()) -> None:
        self.bad, self.missing = bad, missing

    @property
    def num_episodes(self) -> int:
        return len(LENGTHS)

    def episode(self, index: int) -> Trajectory:
        if index in self.missing:
            raise DataError(f"data.parquet, episode {index}: rows are missing")
        length = LENGTHS[index]

        def load(rows: np.ndarray) -> Tensor:
            if index in self.bad:
                raise DataError(f"video of episode {index} is broken")
            return torch.stack(
                [torch.full((3, 4, 4), 10 * index + int(row), dtype=torch.uint8) for row in rows]
            )

        return Trajectory(
            index=index,
            task="",
            fps=self.fps,
            states=np.full((length, 2), index, dtype=np.float32),
            actions=np.arange(1, length, dtype=np.float32)[:, None] + 10 * index,
            timestamps_s=np.arange(length) / self.fps,
            load_frames=load,
        )


def encode(frames: Tensor) -> Tensor:
    """One token of one number: the first pixel."""
    return frames[:, :1, 0, 0].float().unsqueeze(1)


@pytest.mark.parametrize("workers", [0, 1])
def test_every_frame_of_every_episode_in_order(workers: int) -> None:
    data = encode_dataset(Episodes(), encode, workers=workers, max_bad_fraction=0.0)
    assert data.features.shape == (14, 1, 1)
    assert data.features.dtype == torch.float16
    expected = [10 * episode + row for episode, length in enumerate(LENGTHS) for row in range(length)]
    assert data.features.flatten().tolist() == expected
    assert data.starts.tolist() == [0, 4, 6, 11, 14]
    assert data.actions.flatten().tolist() == [1, 2, 3, 0, 11, 0, 21, 22, 23, 24, 0, 31, 32, 0]
    assert data.states[:, 0].tolist() == [0] * 4 + [1] * 2 + [2] * 5 + [3] * 3


def test_bad_episodes_are_skipped_and_named(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    data = encode_dataset(Episodes(bad=[1], missing=[2]), encode, workers=0, max_bad_fraction=0.5)
    assert data.features.flatten().tolist() == [0, 1, 2, 3, 30, 31, 32]
    assert data.starts.tolist() == [0, 4, 7]
    assert caplog.messages == [
        "episode skipped: video of episode 1 is broken",
        "episode skipped: data.parquet, episode 2: rows are missing",
    ]


def test_too_many_bad_episodes_stop_and_are_listed() -> None:
    message = (
        "2 of 4 episodes are unreadable, more than data.max_bad_fraction=0.4: video of episode 1 is broken; "
        "video of episode 3 is broken. Repair them, or raise data.max_bad_fraction"
    )
    with pytest.raises(DataError, match=message):
        encode_dataset(Episodes(bad=[1, 3]), encode, workers=0, max_bad_fraction=0.4)
    with pytest.raises(DataError, match="4 of 4 episodes are unreadable"):
        encode_dataset(Episodes(bad=range(4)), encode, workers=0, max_bad_fraction=1.0)


@pytest.mark.parametrize("frames", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("episodes", [slice(0, 4), slice(1, 3), slice(3, 4), slice(0, 0)])
def test_windows_stay_inside_their_episodes(frames: int, episodes: slice) -> None:
    data = encode_dataset(Episodes(), encode, workers=0, max_bad_fraction=0.0)
    expected = []
    for episode in range(*episodes.indices(4)):
        first = sum(LENGTHS[:episode])
        expected += [first + i for i in range(LENGTHS[episode]) if i + frames <= LENGTHS[episode]]
    assert data.windows(frames, episodes).tolist() == expected


def test_gather_takes_consecutive_rows() -> None:
    count = 12
    data = FrozenFeatures(
        features=torch.arange(count * 2.0).view(count, 1, 2).half(),
        states=torch.arange(count * 3.0).view(count, 3),
        actions=torch.arange(count * 1.0).view(count, 1),
        starts=torch.tensor([0, count]),
    )
    features, states_or_actions, states = data.gather(torch.tensor([7, 0]), 3)
    assert features.dtype == torch.float32
    assert features[:, :, 0, 0].tolist() == [[14, 16, 18], [0, 2, 4]]
    assert states_or_actions[:, :, 0].tolist() == [[7, 8, 9], [0, 1, 2]]
    assert states[:, :, 0].tolist() == [[21, 24, 27], [0, 3, 6]]
