"""RLDS episodes: missing information, missing data, and a real file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.trajectories.makers import BY_NAME, contents, png, rlds_example
from tests.data.trajectories.tf_writer import example, write_records
from tests.paths import SHARED_DATA
from vjepa_world.data.trajectories.formats.rlds.reader import RLDSDataset
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import PLAIN

BRIDGE = SHARED_DATA / "robot" / "bridge_debug.tfrecord"
KIND = BY_NAME["rlds"]


@pytest.fixture
def bridge() -> Path:
    """Return the real file, or skip."""
    if not BRIDGE.is_file():
        pytest.skip(f"real robot data is not here: {BRIDGE}")
    return BRIDGE


def test_all_of_a_real_file_is_read(bridge: Path) -> None:
    dataset = open_trajectories(bridge)
    assert (dataset.format, dataset.num_episodes, dataset.fps) == ("rlds", 25, 5.0)
    assert dataset.cameras == ("image_0", "image_1", "image_2")
    assert (
        dataset.about["empty cameras (all frames black)"] == "image_3"
    )  # black: that camera was not mounted
    assert "BridgeData V2" in dataset.about["convention from"]
    for index in range(dataset.num_episodes):
        episode = dataset.episode(index)
        assert (episode.states.shape, episode.actions.shape) == ((10, 7), (9, 7))
        assert episode.task
        for camera in dataset.cameras:
            assert episode.frames(camera=camera).shape == (10, 3, 64, 64)
        # WidowX 250: at most 0.65 m of reach, small moves between rows, a gripper between closed and open.
        ours = standardise(episode, dataset.convention)
        assert np.linalg.norm(ours.states[:, :3], axis=1).max() < 0.65
        assert np.abs(ours.actions[:, :3]).max() < 0.06
        assert np.abs(ours.actions[:, 3:6]).max() < 0.5
        assert ours.states[:, 6].min() > -0.02 and ours.states[:, 6].max() < 1


def test_the_real_files_actions_are_commands_that_states_follow(bridge: Path) -> None:
    """What the format's convention rests on: actions are not differences of states, and the gripper is absolute."""
    dataset = open_trajectories(bridge)
    episodes = [dataset.episode(index) for index in range(dataset.num_episodes)]
    commanded = np.concatenate([episode.actions for episode in episodes])
    moved = np.concatenate([np.diff(episode.states, axis=0) for episode in episodes])
    for axis in range(6):
        agreement = np.corrcoef(commanded[:, axis], moved[:, axis])[0, 1]
        assert 0.7 < agreement < 0.95
        assert np.abs(commanded[:, axis] - moved[:, axis]).mean() > 0.3 * np.abs(commanded[:, axis]).mean()
    assert set(np.round(commanded[:, 6])) == {0.0, 1.0}
    reached = np.concatenate([episode.states[1:, 6] for episode in episodes])
    assert np.corrcoef(commanded[:, 6], reached)[0, 1] > 0.8
    assert reached[commanded[:, 6] > 0.99].mean() > 0.9


def test_the_convention_of_a_known_name_can_be_overridden(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    known = RLDSDataset(path)
    assert (known.fps, known.convention.gripper_open) == (5.0, 1.0)
    other = RLDSDataset(path, fps=3, convention=PLAIN)
    assert (other.fps, other.convention) == (3.0, PLAIN)
    assert other.about["frame rate from"] == "fps=" and other.about["convention from"] == "convention="
    assert other.episode(0).timestamps_s[1] == pytest.approx(1 / 3)
    # A state of another make is not the one that the name stands for.
    assert RLDSDataset(path, state="action").convention == PLAIN
    with pytest.raises(ConfigError, match="fps is 0; give the observations per second"):
        RLDSDataset(path, fps=0)


def test_an_unknown_name_has_the_default_convention(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    (path / "dataset_info.json").unlink()
    for file in path.glob("*.tfrecord*"):
        file.rename(path / file.name.replace("bridge", "mine"))
    dataset = RLDSDataset(path)
    assert (dataset.convention, dataset.fps) == (PLAIN, 5.0)
    assert "assumed" in dataset.about["frame rate from"]


def test_states_and_actions_can_be_concatenated_from_features(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    dataset = RLDSDataset(path, state=["observation/state", "reward"], action=("action", "is_last"))
    assert dataset.state_names[-1] == "reward" and len(dataset.state_names) == 8
    episode = dataset.episode(1)
    assert np.array_equal(episode.states[:, :7], contents(KIND)[1].states)
    assert episode.actions.shape == (4, 8)
    assert set(episode.columns) == {"is_first"}
    with pytest.raises(DataError, match="no numbers called 'observation/joints'.*observation/state"):
        RLDSDataset(path, state="observation/joints")


def test_a_single_split_can_be_read(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    (path / "bridge_dataset-train.tfrecord-00001-of-00002").rename(
        path / "bridge_dataset-val.tfrecord-00000-of-00001"
    )
    assert [RLDSDataset(path, split=split).num_episodes for split in (None, "train", "val")] == [3, 2, 1]
    with pytest.raises(DataError, match=r"has no \*.tfrecord file of split 'test'"):
        RLDSDataset(path, split="test")


def test_success_and_columns(tmp_path: Path) -> None:
    dataset = RLDSDataset(KIND.make(tmp_path / "set", contents(KIND)))
    assert [dataset.episode(index).success for index in range(3)] == [True, False, True]
    episode = dataset.episode(0)
    assert episode.columns["is_last"].ravel().tolist() == [0, 0, 0, 0, 0, 0, 1]
    assert episode.last_action is not None
    assert np.array_equal(episode.last_action, contents(KIND)[0].actions[-1])


def test_a_broken_shard_loses_only_its_own_episodes(tmp_path: Path) -> None:
    path = KIND.make(tmp_path / "set", contents(KIND))
    first = path / "bridge_dataset-train.tfrecord-00000-of-00002"
    first.write_bytes(first.read_bytes()[:100])
    dataset = RLDSDataset(path)  # the first readable episode says what there is
    assert dataset.num_episodes == 2
    with pytest.raises(DataError, match=f"{first} episode 0 is damaged"):
        dataset.episode(0)
    assert np.array_equal(dataset.episode(1).states, contents(KIND)[2].states)


def one_record(path: Path, data: bytes) -> RLDSDataset:
    return RLDSDataset(write_records(path / "mine.tfrecord", [data]))


def test_an_image_that_does_not_decode_is_reported_with_its_row(tmp_path: Path) -> None:
    content = contents(KIND)[1]
    images = [png(frame) for frame in content.frames["image_0"]]
    images[3] = images[3][:60]
    dataset = one_record(tmp_path, rlds_example(content, 0, **{"steps/observation/image_0": images}))
    episode = dataset.episode(0)
    assert episode.frames([0, 2, 4]).shape == (3, 3, 64, 64)
    with pytest.raises(DataError, match="mine.tfrecord/episode 0, image_0, row 3"):
        episode.frames([2, 3])


def test_images_of_different_sizes_are_reported(tmp_path: Path) -> None:
    content = contents(KIND)[1]
    images = [png(frame) for frame in content.frames["image_0"]]
    images[3] = png(content.frames["image_0"][3][:32])
    dataset = one_record(tmp_path, rlds_example(content, 0, **{"steps/observation/image_0": images}))
    with pytest.raises(DataError, match=r"row 3 is \(3, 32, 64\), and \(3, 64, 64\) at row 0"):
        dataset.episode(0).frames()


def test_depth_is_a_camera_only_on_request(tmp_path: Path) -> None:
    content = contents(KIND)[1]
    depth = [png(frame) for frame in content.frames["image_0"]]
    data = rlds_example(content, 0, **{"steps/observation/depth_0": depth})
    assert one_record(tmp_path, data).cameras == ("image_0", "image_1")
    chosen = RLDSDataset(tmp_path / "mine.tfrecord", cameras=("depth_0",)).episode(0)
    assert torch.equal(chosen.frames(), one_record(tmp_path, data).episode(0).frames())


def test_only_cameras_without_any_image_are_left_out(tmp_path: Path) -> None:
    black = np.zeros((64, 64, 3), np.uint8)
    episodes = contents(KIND)
    for episode in episodes:
        episode.frames["image_2"] = np.stack([black] * len(episode.states))
    episodes[1].frames["image_2"][:] = episodes[1].frames["image_0"]
    sometimes = RLDSDataset(KIND.make(tmp_path / "sometimes", episodes))
    assert sometimes.cameras == ("image_0", "image_1", "image_2")
    episodes[1].frames["image_2"][:] = 7
    never = RLDSDataset(KIND.make(tmp_path / "never", episodes))
    assert never.cameras == ("image_0", "image_1")
    assert never.about["empty cameras (all frames black)"] == "image_2"
    assert RLDSDataset(never.path, cameras=("image_2",)).episode(0).frames().max() == 0


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"steps/observation/state": np.zeros(21, np.float32)}, "does not contain its number of steps"),
        (
            {"steps/is_last": np.array([0, 0, 1]), "steps/observation/state": np.zeros(20, np.float32)},
            "observation/state has 20 numbers, which are not as many for each of 3 steps",
        ),
        ({"steps/is_last": np.array([0, 0, 1])}, "no numbers called 'observation/state'"),
    ],
)
def test_features_that_do_not_fit_are_reported(
    features: dict[str, np.ndarray], message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=f"none is readable. The first: .*mine.tfrecord episode 0.*{message}"):
        one_record(tmp_path, example(features))
