"""LeRobotDataset v2.1 is read as written: dtypes, cameras and frames."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.data.coded_video import coded_frame, read_codes, write_coded
from tests.data.v21_files import FPS, STATE_NAMES, numbers, write_v21
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

LENGTHS = (7, 5, 6)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_v21(tmp_path_factory.mktemp("v21") / "set", LENGTHS, picture=True)


def test_every_number_keeps_its_dtype(root: Path) -> None:
    dataset = LeRobotDataset(root)
    assert (dataset.num_episodes, dataset.fps, dataset.convention) == (3, FPS, PLAIN)
    assert dataset.state_names == tuple(STATE_NAMES)
    assert dataset.about["robot"] == "so100" and dataset.about["version"] == "v2.1"
    for index, length in enumerate(LENGTHS):
        expected, episode = numbers(index, length), dataset.episode(index)
        found = {
            "observation.state": episode.states,
            "action": np.concatenate([episode.actions, [episode.last_action]]),
            "camera_extrinsics.front": episode.extrinsics["front"],
            **episode.columns,
        }
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            assert found[name].dtype == values.dtype, name
            assert found[name].tobytes() == values.tobytes(), name
        assert episode.success is bool(expected["next.success"][-1])
        assert episode.task == f"task {index % 2}"
        np.testing.assert_array_equal(episode.timestamps_s, (np.arange(length) / FPS).astype(np.float32))


def test_every_camera_shows_its_frames(root: Path) -> None:
    dataset = LeRobotDataset(root)
    assert dataset.cameras == ("front", "wrist", "top")
    for index, length in enumerate(LENGTHS):
        episode = dataset.episode(index)
        for camera in ("front", "wrist"):
            assert read_codes(episode.frames(camera=camera)) == list(range(length))
            assert read_codes(episode.frames([3, 0, 3], camera)) == [3, 0, 3]
        assert torch.equal(
            episode.frames([4, 1, 4], "top").permute(0, 2, 3, 1),
            torch.from_numpy(np.stack([coded_frame(50 + row) for row in (4, 1, 4)])),
        )
    assert LeRobotDataset(root, cameras=("wrist",)).episode(0).cameras == ("wrist",)
    assert LeRobotDataset(root, convention=Convention(actions="given")).convention.actions == "given"


def test_its_videos_are_clips_too(root: Path) -> None:
    corpus = find_videos(str(root))
    assert len(corpus.segments) == 2 * len(LENGTHS)
    assert {segment.end_s for segment in corpus.segments} == {length / FPS for length in LENGTHS}


def test_the_fingerprint_is_that_of_the_files(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    before = LeRobotDataset(copy).fingerprint()
    assert before == LeRobotDataset(root).fingerprint()
    file = next(copy.glob("data/*/*.parquet"))
    file.write_bytes(file.read_bytes() + b" ")
    assert LeRobotDataset(copy).fingerprint() != before


DATA = "data/chunk-000/episode_000001.parquet"
VIDEO = "videos/chunk-000/observation.images.wrist/episode_000001.mp4"


def edit(file: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(change(pq.read_table(file)), file)


def with_nan(table: pa.Table) -> pa.Table:
    states = np.array(table["observation.state"].to_pylist())
    states[3, 2] = np.nan
    column_index = table.schema.get_field_index("observation.state")
    return table.set_column(column_index, "observation.state", pa.array(list(states)))


def with_short_action(table: pa.Table) -> pa.Table:
    actions = table["action"].to_pylist()
    actions[2] = actions[2][:2]
    return table.set_column(table.schema.get_field_index("action"), "action", pa.array(actions))


ONE_BAD: dict[str, tuple[Callable[[Path], Any], str]] = {
    "a column is missing": (
        lambda r: edit(r / DATA, lambda t: t.drop_columns(["action"])),
        f"{DATA} has no column action. Its columns: observation.state",
    ),
    "a state is NaN": (
        lambda r: edit(r / DATA, with_nan),
        f"{DATA}, episode 1, row 3: observation.state is not finite",
    ),
    "an action is too short": (
        lambda r: edit(r / DATA, with_short_action),
        f"{DATA}, episode 1: column action does not have 3 numbers in each row: row 2 has 2",
    ),
    "parquet is broken": (lambda r: (r / DATA).write_bytes(b"PAR1 no"), f"{DATA} cannot be read as parquet"),
    "rows are missing": (
        lambda r: edit(r / DATA, lambda t: t.slice(0, 4)),
        f"{DATA}, episode 1: 4 rows, but the list of episodes has 5",
    ),
    "rows are of another episode": (
        lambda r: edit(
            r / DATA,
            lambda t: t.set_column(t.schema.get_field_index("episode_index"), "episode_index", t["index"]),
        ),
        "episode 1: 1 rows",
    ),
}


@pytest.mark.parametrize("damage", ONE_BAD)
def test_one_bad_episode_does_not_affect_the_others(damage: str, root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    harm, message = ONE_BAD[damage]
    harm(copy)
    dataset = LeRobotDataset(copy)
    with pytest.raises(DataError, match=message):
        dataset.episode(1)
    assert len(dataset.episode(0)) == 7 and len(dataset.episode(2)) == 6


def test_a_video_shorter_than_its_rows_is_reported(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    write_coded(copy / VIDEO, [100 * t for t in range(3)])
    with pytest.raises(
        DataError, match=rf"{VIDEO} ends at 0\.300 s, but episode 1 has 5 rows, the last at 0\.400 s"
    ):
        LeRobotDataset(copy).episode(1).frames([0], "wrist")


def test_errors_of_the_complete_dataset_are_reported_at_once(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    with pytest.raises(DataError, match="no episode 3: it has 3, counted from 0"):
        LeRobotDataset(copy).episode(3)
    with pytest.raises(DataError, match="no episode -1"):
        LeRobotDataset(copy).episode(-1)
    lines = (copy / "meta/episodes.jsonl").read_text().splitlines()
    for text, message in (
        (
            "\n".join([*lines[:2], "{"]),
            "episodes.jsonl, line 3: expected an object with episode_index and length",
        ),
    ):
        (copy / "meta/episodes.jsonl").write_text(text)
        with pytest.raises(DataError, match=message):
            LeRobotDataset(copy)
    (copy / "meta/episodes.jsonl").unlink()
    with pytest.raises(
        DataError, match=r"episodes.jsonl cannot be read .* Copy the dataset's whole meta folder"
    ):
        LeRobotDataset(copy)


@pytest.mark.parametrize("version", ["v1.6", "v4.0", "None"])
def test_an_unknown_version_is_refused(version: str, tmp_path: Path) -> None:
    root = write_v21(tmp_path / "set", (3,))
    info = json.loads((root / "meta/info.json").read_text()) | {"codebase_version": version}
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=f"codebase_version {version}; the versions v3.0, v2.1, v2.0 are read"
    ):
        LeRobotDataset(root)
