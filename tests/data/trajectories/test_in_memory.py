"""In-memory datasets behave like those from files, and refuse arrays that do not fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.data.coded_video import coded_frame, read_codes
from tests.data.joint_robot import FPS, JOINTS, joint_episode
from vjepa_world.data.features.cache import build_features
from vjepa_world.data.features.key import FeatureKey
from vjepa_world.data.trajectories.convert import spec_of
from vjepa_world.data.trajectories.description import describe_dataset
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.trajectories.in_memory import EpisodeArrays, InMemoryDataset
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import WindowTable, read_episodes
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import PLAIN, Convention

LENGTHS = (6, 5, 7)


def arrays(index: int, **changed: Any) -> EpisodeArrays:
    """Return an episode with two cameras whose frames show numbers."""
    length, rng = LENGTHS[index], np.random.default_rng(index)
    frames = np.stack([coded_frame(20 * index + row) for row in range(length)])
    given: dict[str, Any] = {
        "states": rng.uniform(-1, 1, (length, 4)),
        "actions": rng.uniform(-1, 1, (length - 1, 2)).astype(np.float32),
        "frames": {"top": frames, "wrist": torch.from_numpy(255 - frames).permute(0, 3, 1, 2)},
        "task": f"task {index}",
    }
    return EpisodeArrays(**given | changed)


def dataset(**options: Any) -> InMemoryDataset:
    return InMemoryDataset([arrays(index) for index in range(3)], **{"fps": 5} | options)


def test_a_dataset_in_memory_returns_the_given_arrays() -> None:
    memory: TrajectoryDataset = dataset()
    assert (memory.format, memory.num_episodes, memory.fps) == ("memory", 3, 5.0)
    assert memory.cameras == ("top", "wrist")
    assert memory.state_names == ("state_0", "state_1", "state_2", "state_3")
    assert memory.convention == PLAIN
    for index, length in enumerate(LENGTHS):
        episode = memory.episode(index)
        assert np.array_equal(episode.states, arrays(index).states)
        assert np.array_equal(episode.actions, arrays(index).actions)
        assert np.array_equal(episode.timestamps_s, np.arange(length) / 5)
        assert episode.task == f"task {index}"
        assert read_codes(episode.frames()) == [20 * index + row for row in range(length)]
        assert torch.equal(episode.frames([3, 1, 1], "wrist"), 255 - episode.frames([3, 1, 1]))
    with pytest.raises(DataError, match="has no episode 3: it has 3, counted from 0"):
        memory.episode(3)


def test_datasets_without_cameras_and_with_one() -> None:
    numbers = InMemoryDataset([arrays(0, frames={})], fps=5, state_names=("a", "b", "c", "d"))
    assert numbers.cameras == ()
    assert numbers.state_names == ("a", "b", "c", "d")
    frames = arrays(0).frames["top"]  # type: ignore[index]
    one = InMemoryDataset([arrays(0, frames=frames, timestamps_s=np.arange(6) * 0.3)], fps=5)
    assert one.cameras == ("main",)
    assert one.episode(0).timestamps_s.tolist() == pytest.approx([0, 0.3, 0.6, 0.9, 1.2, 1.5])


def test_the_convention_follows_from_joint_names_and_numbers() -> None:
    episodes = []
    for index in range(3):
        _, joints, targets = joint_episode(index)
        episodes.append(EpisodeArrays(states=joints, actions=targets[:-1]))
    names: dict[str, Any] = {"state_names": JOINTS, "action_names": JOINTS}
    found = InMemoryDataset(episodes, fps=FPS, **names)
    assert found.convention.has_joints
    assert found.convention.actions == "target"
    given = Convention(joints="all", actions="given")
    assert InMemoryDataset(episodes, fps=FPS, convention=given, **names).convention.actions == "given"


def test_the_fingerprint_follows_the_content() -> None:
    before = dataset().fingerprint()
    assert dataset().fingerprint() == before == pickle.loads(pickle.dumps(dataset())).fingerprint()
    states, frames = arrays(0).states.copy(), dict(arrays(0).frames)
    states[0, 0] += 1
    frames["top"] = np.where(frames["top"] == 40, np.uint8(41), frames["top"])
    for changed in ({"states": states}, {"frames": frames}):
        other = InMemoryDataset([arrays(0, **changed), arrays(1), arrays(2)], fps=5)
        assert other.fingerprint() != before


def test_windows_features_and_descriptions(tmp_path: Path) -> None:
    memory = dataset()
    episodes, bad = read_episodes(memory, max_bad_fraction=0.0)
    table = WindowTable(episodes, frames=3, fps=2.5)
    assert len(table) == sum(length - 4 for length in LENGTHS)
    assert len(bad) == 0
    assert describe_dataset(memory).lengths == LENGTHS
    key = FeatureKey(
        encoder="mean",
        preprocessing="none",
        dataset=memory.fingerprint(),
        cameras=memory.cameras,
        tokens=1,
        width=3,
    )
    store = build_features(
        memory, lambda frames: frames.float().mean((2, 3)).unsqueeze(1), key, root=tmp_path, workers=1
    )
    with store:
        expected = memory.episode(1).frames(camera="wrist").float().mean((2, 3)).bfloat16()
        assert torch.equal(store.features(1, np.arange(5), "wrist")[:, 0], expected)


def test_it_can_be_written_as_a_lerobot_dataset(tmp_path: Path) -> None:
    memory = dataset()
    writer = LeRobotWriter(tmp_path / "written", spec_of(memory, memory.episode(0), reencode=False))
    with writer.shard(0) as shard:
        for index in range(memory.num_episodes):
            shard.add(memory.episode(index))
    written = LeRobotDataset(writer.finalize())
    assert written.cameras == memory.cameras
    for index in range(3):
        assert np.array_equal(written.episode(index).states, memory.episode(index).states)
        assert read_codes(written.episode(index).frames()) == read_codes(memory.episode(index).frames())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"states": np.full((5, 4), np.nan)}, "episode 1 of arm, row 0: states is not finite"),
        ({"states": np.zeros(5)}, r"states have shape \[5\], expected two axes, \[rows, numbers\] with 4"),
        ({"states": np.zeros((5, 3))}, r"states have shape \[5, 3\], expected .* with 4 numbers"),
        ({"states": np.zeros((5, 4), object)}, "states holds object"),
        ({"actions": np.zeros((5, 2))}, "5 states and 5 actions, expected 4 actions"),
        ({"frames": {}}, "has the cameras none, and episode 0 has top, wrist"),
        ({"frames": {"top": np.zeros((5, 8, 8, 3)), "wrist": 0}}, "camera top: frames are float64 of shape"),
        (
            {"frames": {"top": np.zeros((4, 8, 8, 3), np.uint8), "wrist": 0}},
            "camera top: 4 frames and 5 states",
        ),
        ({"frames": {"top": np.zeros((5, 8, 8), np.uint8), "wrist": 0}}, r"expected uint8 \[T, H, W, 3\]"),
        ({"timestamps_s": np.arange(4.0)}, "timestamps_s has 4 rows, and the episode has 5"),
    ],
)
def test_arrays_that_do_not_fit_are_reported(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        InMemoryDataset([arrays(0), arrays(1, **changed)], fps=5, name="arm")


def test_options_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="has no episode; give at least one"):
        InMemoryDataset([], fps=5)
    with pytest.raises(DataError, match="2 state names for 4 numbers; give one for each"):
        dataset(state_names=("a", "b"))
    with pytest.raises(ConfigError, match="fps is 0; give the observations per second"):
        dataset(fps=0)
