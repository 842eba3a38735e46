"""DROID recordings: lists of folders, cameras by serial number, and missing data."""

from __future__ import annotations

import json
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.data.coded_video import read_codes
from tests.data.trajectories.makers import BY_NAME, code, contents
from vjepa_world.data.trajectories.formats.droid import DROIDDataset
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention

KIND = BY_NAME["droid"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a recording of three trajectories: a failure, then two successes."""
    return KIND.make(tmp_path / "lab", contents(KIND))


def folders(root: Path) -> list[Path]:
    return [file.parent for file in sorted(root.rglob("trajectory.h5"))]


def edit_metadata(folder: Path, **changes: object) -> None:
    file = next(folder.glob("metadata_*.json"))
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_recording_describes_itself(root: Path) -> None:
    dataset = DROIDDataset(root)
    assert dataset.convention == Convention()
    assert dataset.state_names == ("x", "y", "z", "roll", "pitch", "yaw", "closure")
    episodes = [dataset.episode(index) for index in range(3)]
    assert [episode.success for episode in episodes] == [False, True, True]
    assert [episode.task for episode in episodes] == ["task 1", "task 0", "task 0"]
    assert episodes[0].states.dtype == np.float64
    assert episodes[0].columns["observation/robot_state/joint_positions"].shape == (5, 7)
    assert {name: pose[0, 0] for name, pose in episodes[0].extrinsics.items()} == {"left": 0.1, "wrist": 0.2}


@pytest.mark.parametrize("line", ["{path}", "{path} 0", "{path},0,1", '"{path}"'])
def test_a_list_of_folders(line: str, root: Path) -> None:
    chosen = [folders(root)[2], folders(root)[0]]
    listed = root / "list.csv"
    listed.write_text("".join(line.format(path=folder) + "\n" for folder in chosen) + "\n")
    dataset = open_trajectories(listed)
    assert (dataset.format, dataset.num_episodes) == ("droid", 2)
    assert np.array_equal(dataset.episode(0).states, contents(KIND)[2].states)
    relative = root / "relative.csv"
    relative.write_text("".join(f"{folder.relative_to(root)}\n" for folder in chosen))
    assert np.array_equal(open_trajectories(relative).episode(1).states, contents(KIND)[1].states)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.parametrize("header", ["", "path\n", "Path,label\n", "label;path\n"])
def test_a_list_of_a_spreadsheet(encoding: str, header: str, root: Path) -> None:
    chosen = [folders(root)[2], folders(root)[0]]
    rows = [f"x;{folder}" if ";" in header else str(folder) for folder in chosen]
    (root / "list.csv").write_text(header + "\r\n".join(rows), encoding=encoding)
    dataset = open_trajectories(root / "list.csv")
    assert dataset.num_episodes == 2
    assert np.array_equal(dataset.episode(0).states, contents(KIND)[2].states)


def test_a_list_with_another_header_is_refused_with_the_missing_column(root: Path) -> None:
    (root / "list.csv").write_text(f"folder\n{folders(root)[0]}\n")
    with pytest.raises(
        DataError, match="no column 'path' in its first line; it has: folder. Its first line names no"
    ):
        open_trajectories(root / "list.csv")


def test_links_to_folders_above_are_followed_once(root: Path) -> None:
    (folders(root)[0] / "up").symlink_to("../..")
    (root / "again").symlink_to(".")
    assert DROIDDataset(root).num_episodes == 3


def test_a_missing_folder_is_one_bad_episode(root: Path) -> None:
    (root / "list.csv").write_text(f"{folders(root)[0]}\n{root / 'nowhere'}\n")
    dataset = DROIDDataset(root / "list.csv")
    assert len(dataset.episode(0)) == 5
    with pytest.raises(DataError, match=r"nowhere \(episode 1\) is not a folder"):
        dataset.episode(1)


def test_early_metadata_names_cameras_by_number(root: Path) -> None:
    for folder in folders(root):
        found = json.loads(next(folder.glob("metadata_*.json")).read_text())
        edit_metadata(folder, left_mp4_path=None, ext1_mp4_path=found["left_mp4_path"])
    assert DROIDDataset(root).cameras == ("ext1", "wrist")
    edit_metadata(folders(root)[1], left_mp4_path="x/1.mp4")  # where there is a left, ext1 is the same camera
    with pytest.raises(DataError, match=r"\(episode 1\) has no video of camera ext1"):
        DROIDDataset(root, cameras=("ext1",)).episode(1)


def test_without_actions_the_next_poses_are_used(root: Path) -> None:
    for folder in folders(root):
        with h5py.File(folder / "trajectory.h5", "r+") as file:
            del file["action"]
    episode = DROIDDataset(root).episode(1)
    assert np.array_equal(episode.actions, episode.states[1:])
    assert episode.last_action is None


def test_a_video_may_be_longer_than_the_rows(root: Path) -> None:
    folder = folders(root)[1]
    video = next(folder.glob("recordings/MP4/*0345678.mp4"))
    frames = contents(KIND)[0].frames["left"]
    write_video(video, np.concatenate([frames, frames[:2]]), 15)
    assert read_codes(DROIDDataset(root).episode(1).frames()) == [code(0, row, 0) for row in range(7)]


def test_missing_data_is_reported(root: Path) -> None:
    first, second, third = folders(root)
    next(first.glob("metadata_*.json")).unlink()
    next(second.glob("recordings/MP4/*0345678.mp4")).unlink()
    with h5py.File(third / "trajectory.h5", "r+") as file:
        del file["observation/robot_state/gripper_position"]
    dataset = DROIDDataset(root)
    assert dataset.cameras == ("left", "wrist")
    with pytest.raises(DataError, match=r"\(episode 0\) has no metadata_\*.json"):
        dataset.episode(0)
    with pytest.raises(DataError, match=r"\(episode 1\) has no video of camera left .*0345678.mp4"):
        dataset.episode(1)
    with pytest.raises(
        DataError, match=r"\(episode 2\) has no 'observation/robot_state/gripper_position'; it has: "
    ):
        dataset.episode(2)


def test_an_empty_folder_has_no_trajectory(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no folder with a trajectory.h5"):
        DROIDDataset(tmp_path)
