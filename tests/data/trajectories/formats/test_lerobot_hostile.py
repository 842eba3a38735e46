"""Untrusted LeRobotDataset metadata: wrong types and sizes are refused with a message, nothing outside is read."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.v21_files import write_v21
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.trajectories.convert import ConversionConfig, convert_trajectories
from vjepa_world.data.trajectories.formats.lerobot.numeric_columns import open_column
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError

TABLE = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.main"
STATE = {"observation.state": {"dtype": "float32", "shape": [3], "names": None}}


@pytest.fixture
def new(dataset_root: Path, tmp_path: Path) -> Path:
    return shutil.copytree(dataset_root, tmp_path / "new")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "old", (3, 4))


def edit_info(root: Path, **changes: Any) -> None:
    file = root / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def feature(root: Path, name: str, **changes: Any) -> None:
    features = json.loads((root / "meta/info.json").read_text())["features"]
    edit_info(root, features=features | {name: features.get(name, {}) | changes})


INFO: dict[str, dict[str, Any]] = {
    "fps 0": {"fps": 0},
    "fps a word": {"fps": "fast"},
    "fps negative": {"fps": -4},
    "fps not a number": {"fps": float("nan")},
    "fps infinite": {"fps": float("inf")},
    "fps true": {"fps": True},
    "fps tiny": {"fps": 1e-300},
    "fps a list": {"fps": [30]},
    "features a list": {"features": [1]},
    "features words": {"features": {"observation.state": "float32"}},
    "no dtype": {"features": {"observation.state": {"shape": [3]}}},
    "dtype a list": {"features": {"observation.state": {"dtype": ["float32"], "shape": [3]}}},
    "shape a word": {"features": {"observation.state": {"dtype": "float32", "shape": "3"}}},
    "shape negative": {"features": {"observation.state": {"dtype": "float32", "shape": [-3]}}},
    "shape a float": {"features": {"observation.state": {"dtype": "float32", "shape": [2.5]}}},
    "shape huge": {"features": {"observation.state": {"dtype": "float32", "shape": [10**12]}}},
    "shapes that multiply": {"features": {"observation.state": {"dtype": "float32", "shape": [10**5] * 4}}},
    "shape of many axes": {"features": {"observation.state": {"dtype": "float32", "shape": [1] * 10**5}}},
    "picture huge": {"features": {**STATE, "c": {"dtype": "image", "shape": [10**9, 10**9, 3]}}},
    "data_path a number": {"data_path": 5},
    "data_path unknown": {"data_path": "data/{nokey}.parquet"},
    "data_path wide": {"data_path": "data/{chunk_index:>900000000}.parquet"},
    "data_path outside": {"data_path": "../x.parquet"},
    "data_path absolute": {"data_path": "/etc/passwd"},
    "video_path outside": {"video_path": "videos/../../x.mp4"},
    "video_path a list": {"video_path": ["x"]},
    "chunks_size 0": {"chunks_size": 0},
    "chunks_size a word": {"chunks_size": "1000"},
    "half a letter": {"robot_type": "\ud800"},
    "version a list": {"codebase_version": [3]},
}


@pytest.mark.parametrize("version", ["old", "new"])
@pytest.mark.parametrize("harm", INFO)
def test_wrong_values_of_info_are_refused(harm: str, version: str, request: pytest.FixtureRequest) -> None:
    root: Path = request.getfixturevalue(version)
    edit_info(root, **INFO[harm])
    start_s = time.monotonic()
    with pytest.raises(DataError, match=r"info\.json|must stay inside its folder"):
        LeRobotDataset(root)
    assert time.monotonic() - start_s < 5


@pytest.mark.parametrize("text", ["[1]", "{", "[" * 100_000, '"x"', "", '{"fps": ' + "9" * 5000 + "}"])
def test_info_that_is_not_an_object_is_refused(new: Path, text: str) -> None:
    (new / "meta/info.json").write_text(text)
    with pytest.raises(DataError, match="info.json"):
        LeRobotDataset(new)


def edit_table(root: Path, column: str, values: list[Any]) -> None:
    table = pq.read_table(root / TABLE)
    column_index = table.schema.get_field_index(column)
    pq.write_table(table.set_column(column_index, column, pa.array(values)), root / TABLE)


ENTRIES: list[tuple[str, Any]] = [
    ("episode_index", -1),
    ("episode_index", None),
    ("episode_index", 1.5),
    ("length", -5),
    ("length", 2**60),
    ("length", "long"),
    ("data/file_index", -1),
    ("data/chunk_index", 2**60),
    ("data/chunk_index", "../.."),
    (f"{VIDEO}/file_index", "/etc"),
    (f"{VIDEO}/from_timestamp", float("nan")),
    (f"{VIDEO}/from_timestamp", -1.0),
    (f"{VIDEO}/to_timestamp", float("inf")),
    (f"{VIDEO}/to_timestamp", None),
    ("tasks", [1]),
]


@pytest.mark.parametrize(("column", "value"), ENTRIES)
def test_a_list_of_damaged_entries_is_refused(new: Path, column: str, value: object) -> None:
    edit_table(new, column, [value] * pq.read_table(new / TABLE).num_rows)
    with pytest.raises(DataError, match=f"meta/episodes, .*{column.rpartition('/')[2]}"):
        LeRobotDataset(new)
    with pytest.raises(DataError, match="meta/episodes"):
        find_videos(str(new))


def of_one_type(value: object, others: list[Any]) -> list[Any]:
    """Return a column whose first entry is `value`, as parquet can hold it."""
    if isinstance(value, float) and isinstance(others[0], int):
        return [value, *(float(other) for other in others)]
    return [value, *others]


@pytest.mark.parametrize(
    ("column", "value"), [entry for entry in ENTRIES if not isinstance(entry[1], str | list)]
)
def test_a_damaged_entry_loses_only_its_episode_and_is_reported(
    new: Path, column: str, value: object
) -> None:
    values = pq.read_table(new / TABLE)[column].to_pylist()
    edit_table(new, column, of_one_type(value, values[1:]))
    dataset = LeRobotDataset(new)
    assert [episode.index for episode in dataset.episodes] == list(range(1, len(values)))
    left_out = " ".join(dataset.about["left_out"].values())
    assert column.rpartition("/")[2] in left_out and "expected" in left_out


@pytest.mark.parametrize(
    "line",
    [
        '{"episode_index": "../0", "length": 3}',
        '{"episode_index": 0, "length": 1e300}',
        '{"episode_index": 0, "length": NaN}',
        '{"episode_index": 0, "length": true}',
        '{"episode_index": 0, "length": 3, "tasks": {"a": 1}}',
        '{"episode_index": 0, "length": 3, "tasks": [1]}',
        '{"episode_index": 0, "length": 3, "tasks": ["\\ud800"]}',
        '{"length": 3}',
        "[0, 3]",
        "[" * 100_000,
    ],
)
def test_wrong_lines_of_the_episode_list_are_refused(old: Path, line: str) -> None:
    (old / "meta/episodes.jsonl").write_text(line + "\n")
    with pytest.raises(DataError, match="episodes.jsonl"):
        LeRobotDataset(old)


def test_an_episode_that_claims_more_rows_than_its_file_has_is_refused(old: Path) -> None:
    (old / "meta/episodes.jsonl").write_text('{"episode_index": 0, "length": 1000000000000}\n')
    with pytest.raises(DataError, match="3 rows, but the list of episodes has 1000000000000"):
        LeRobotDataset(old).episode(0)


@pytest.mark.parametrize(
    "text",
    [
        '{"task_index": -1, "task": "a"}',
        '{"task_index": 0, "task": 5}',
        '{"task_index": "x", "task": "a"}',
        "[]",
        "{",
    ],
)
def test_the_list_of_tasks_is_checked(old: Path, text: str) -> None:
    (old / "meta/tasks.jsonl").write_text(text + "\n")
    with pytest.raises(DataError, match="tasks.jsonl"):
        LeRobotDataset(old)


@pytest.mark.parametrize(
    "content",
    [
        {"convention": ["x"]},
        {"convention": {"position_at": "xyz"}},
        {"convention": {"position_at": [0, 1, 10**30]}},
        {"convention": {"gripper_open": "wide"}},
        {"convention": {"rotation": 7}},
        {"convention": {"rotation": "round"}},
        {"intrinsics": {"main": [[1, 0], [0, 1]]}},
        {"intrinsics": {"main": "wide"}},
        {"intrinsics": [1]},
        {"intrinsics_of_episodes": {"first": {}}},
        {"intrinsics_of_episodes": {"0": {"main": [[1, 0, 0], [0, 1, 0], [0, 0, float("nan")]]}}},
    ],
)
def test_declarations_of_a_dataset_are_checked(new: Path, content: dict[str, Any]) -> None:
    (new / "meta/vjepa_world.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="vjepa_world.json"):
        LeRobotDataset(new)


def _link_out(root: Path, name: str) -> None:
    """Put a file outside of the dataset and a link to it in."""
    outside = root.parent / "private" / Path(name).name
    outside.parent.mkdir(exist_ok=True)
    shutil.move(root / name, outside)
    (root / name).symlink_to(outside)


@pytest.mark.parametrize(
    "name",
    [
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "meta/vjepa_world.json",
        TABLE,
        "data/chunk-000/file-000.parquet",
        f"{VIDEO}/chunk-000/file-000.mp4",
    ],
)
def test_links_outside_of_the_dataset_are_refused(new: Path, name: str) -> None:
    _link_out(new, name)
    if name == "meta/stats.json":  # it is not read
        assert LeRobotDataset(new).episode(0).frames([0]).shape[0] == 1
        return
    with pytest.raises(DataError, match=f"{Path(name).name} is, by a symbolic link, .*private"):
        LeRobotDataset(new)
    with pytest.raises(DataError, match="by a symbolic link"):
        convert_trajectories(ConversionConfig(source=new, destination=new.parent / "out"), workers=1)
    assert not list(new.parent.glob("out/**/*.mp4"))


def test_a_linked_folder_outside_of_the_dataset_is_refused(new: Path) -> None:
    shutil.move(new / "videos", new.parent / "elsewhere")
    (new / "videos").symlink_to(new.parent / "elsewhere")
    with pytest.raises(DataError, match="lies outside of the dataset"):
        LeRobotDataset(new)
    with pytest.raises(DataError, match="lies outside of the dataset"):
        find_videos(str(new))


def test_a_video_elsewhere_is_not_copied_into_the_converted(old: Path, tmp_path: Path) -> None:
    (tmp_path / "private").mkdir()
    secret = tmp_path / "private/secret.mp4"
    shutil.move(next(old.rglob("*.mp4")), secret)
    for path in (
        "../private/secret.mp4",
        str(secret),
        "videos/{video_key}/../../../private/secret{episode_index}.mp4",
    ):
        edit_info(old, video_path=path)
        with pytest.raises(DataError, match="must stay inside its folder|several files would be one"):
            convert_trajectories(ConversionConfig(source=old, destination=tmp_path / "out"), workers=1)
        assert not list(tmp_path.glob("out/**/*.mp4"))


def test_a_file_much_larger_in_memory_than_on_disk_is_refused(old: Path) -> None:
    """Repeated numbers compress almost without a limit."""
    file = old / "data/chunk-000/episode_000000.parquet"
    names = ("timestamp", "frame_index", "episode_index", "observation.state", "action")
    numbers = {"dtype": "float32", "shape": [1]}
    edit_info(old, features=dict.fromkeys(("observation.state", "action"), numbers))
    repeated = pa.DictionaryArray.from_arrays(pa.array(np.zeros(8_000_000, np.int8)), pa.array([7]))
    pq.write_table(pa.table(dict.fromkeys(names, repeated)), file)
    assert file.stat().st_size < 1_000_000
    with pytest.raises(DataError, match=r"would take \d+ in memory; allowed are 200 times its size"):
        LeRobotDataset(old).episode(0)


def test_strings_in_place_of_numbers_are_refused(old: Path) -> None:
    for file in old.glob("data/*/*.parquet"):
        table = pq.read_table(file)
        column_index = table.schema.get_field_index("action")
        pq.write_table(
            table.set_column(column_index, "action", pa.array([["a", "b", "c"]] * len(table))), file
        )
    with pytest.raises(DataError, match="action is declared as numbers, and the file has string"):
        LeRobotDataset(old).episode(0)


def test_a_target_is_checked_too(new: Path) -> None:
    feature(new, "observation.state", shape=[10**12])
    with pytest.raises(DataError, match="info.json"):
        open_column(new, "observation.state[0]")
