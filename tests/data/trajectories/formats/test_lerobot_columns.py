"""All columns of a LeRobotDataset are read and converted, or reported: texts, tasks, depth, others."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.cli.commands import run
from tests.data.coded_video import coded_frame, read_codes
from tests.data.v21_files import write_v21
from vjepa_world.data.corpus.corpus import find_videos
from vjepa_world.data.trajectories.convert import ConversionConfig, ConversionResult, convert_trajectories
from vjepa_world.data.trajectories.description import describe_dataset
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError

LENGTHS = (4, 6)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "set", LENGTHS)


def add_column(
    root: Path,
    name: str,
    values: Callable[[int], list[Any]],
    feature: dict[str, Any] | None,
    kind: Any = None,
) -> None:
    """Give every episode a column, or replace it; `values` are made from its length."""
    for file in root.glob("data/*/*.parquet"):
        table = pq.read_table(file)
        column = pa.array(values(len(table)), kind)
        column_index = table.schema.get_field_index(name)
        table = (
            table.append_column(name, column)
            if column_index < 0
            else table.set_column(column_index, name, column)
        )
        pq.write_table(table, file)
    info = json.loads((root / "meta/info.json").read_text())
    if feature is not None:
        info["features"] = {name: feature, **info["features"]}
    (root / "meta/info.json").write_text(json.dumps(info))


def convert(root: Path, *, reencode: bool = False) -> tuple[LeRobotDataset, ConversionResult]:
    target = root.parent / "new"
    done = convert_trajectories(
        ConversionConfig(source=root, destination=target, reencode=reencode), workers=1
    )
    return LeRobotDataset(target), done


def texts(length: int) -> list[str]:
    return [f"move {row // 2} é" for row in range(length)]


TEXT = {"dtype": "string", "shape": [1], "names": None}


@pytest.mark.parametrize("declared", [True, False])
def test_texts_of_rows_are_read(root: Path, declared: bool) -> None:
    add_column(root, "language_instruction", texts, TEXT if declared else None)
    add_column(root, "note", lambda length: [None, *["x"] * (length - 1)], TEXT if declared else None)
    new, _ = convert(root)
    for dataset in (LeRobotDataset(root), new):
        for index, length in enumerate(LENGTHS):
            columns = dataset.episode(index).columns
            assert columns["language_instruction"].tolist() == texts(length)
            assert columns["note"].tolist() == [None, *["x"] * (length - 1)]
        assert "left_out" not in dataset.about
    assert new.meta.features["language_instruction"] == TEXT
    schema = pq.read_schema(next(new.path.glob("data/*/*.parquet")))
    assert schema.field("language_instruction").type == pa.string()
    assert "language_instruction" not in json.loads((new.path / "meta/stats.json").read_text())


def set_tasks(root: Path, words: dict[int, str], numbers: Callable[[int], list[int]]) -> None:
    add_column(root, "task_index", numbers, None)
    lines = [json.dumps({"task_index": number, "task": text}) for number, text in words.items()]
    (root / "meta/tasks.jsonl").write_text("\n".join(lines))


def halves(length: int) -> list[int]:
    return [7] * (length // 2) + [3] * (length - length // 2)


def test_the_task_is_each_rows_own(root: Path) -> None:
    """Several in one episode, numbered with gaps; the episode list has only one of them."""
    set_tasks(root, {3: "place", 7: "pick", 9: "unused"}, halves)
    new, _ = convert(root)
    for dataset in (LeRobotDataset(root), new):
        for index, length in enumerate(LENGTHS):
            episode = dataset.episode(index)
            half = length // 2
            assert episode.row_tasks == ("pick",) * half + ("place",) * (length - half)
            assert (episode.task, episode.tasks) == ("pick", ("pick", "place"))
        assert describe_dataset(dataset).tasks == {"pick": 2, "place": 2}
    assert new.meta.tasks() == {0: "pick", 1: "place"}
    assert pq.read_table(next(new.path.glob("data/*/*.parquet")))["task_index"].to_pylist() == [
        *[0, 0, 1, 1],
        *[0, 0, 0, 1, 1, 1],
    ]
    rows = pq.read_table(next(new.path.glob("meta/episodes/*/*.parquet")))["tasks"].to_pylist()
    assert rows == [["pick", "place"]] * 2
    assert new.meta.info["total_tasks"] == 2


def test_the_task_of_the_rows_takes_precedence_over_the_list(root: Path) -> None:
    set_tasks(root, {5: "the rows say"}, lambda length: [5] * length)
    episode = LeRobotDataset(root).episode(1)
    assert (episode.task, episode.row_tasks) == ("the rows say", ())


def test_without_a_task_list_the_episode_list_gives_the_task(root: Path) -> None:
    (root / "meta/tasks.jsonl").unlink()
    assert [LeRobotDataset(root).episode(i).task for i in (0, 1)] == ["task 0", "task 1"]


def test_a_task_without_a_text_is_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    set_tasks(root, {3: "place"}, halves)
    episode = LeRobotDataset(root).episode(0)
    assert episode.row_tasks == ("", "", "place", "place")
    assert "task 7 is not in the list of tasks" in caplog.text


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("blob", lambda length: [b"x"] * length, pa.binary()),
        ("words", lambda length: [["a", "b"]] * length, pa.list_(pa.string())),
        ("box", lambda length: [{"x": 1}] * length, None),
    ],
)
def test_columns_that_are_not_read_are_reported(
    root: Path,
    name: str,
    values: Callable[[int], list[Any]],
    kind: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    add_column(root, name, values, {"dtype": "language", "shape": [1]}, kind)
    assert list(LeRobotDataset(root).about["left_out"]) == [name]
    assert name in convert(root)[1].left_out
    shutil.rmtree(root.parent / "new")
    home = root.parent
    assert run(home, "convert", "set", "new", "--workers", "1") == 0
    assert re.search(rf"also left out \(1\):\n  {name}: .* not read", capsys.readouterr().out)
    assert run(home, "inspect", "set", "--no-picture") == 0
    assert re.search(rf"left_out:\n  {name} .* not read", capsys.readouterr().out)


def png(array: np.ndarray) -> dict[str, Any]:
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return {"bytes": out.getvalue(), "path": None}


def depth_mm(row: int) -> np.ndarray:
    return np.linspace(500 + 100 * row, 4000, 64 * 64).reshape(64, 64).astype(np.uint16)


def deep(length: int) -> list[dict[str, Any]]:
    return [png(depth_mm(row)) for row in range(length)]


def shallow(length: int) -> list[dict[str, Any]]:
    return [png((depth_mm(row) >> 8).astype(np.uint8)) for row in range(length)]


def colour(length: int) -> list[dict[str, Any]]:
    return [png(coded_frame(row)) for row in range(length)]


ONE_CHANNEL = {"dtype": "image", "shape": [64, 64, 1], "names": ["height", "width", "channels"]}


@pytest.mark.parametrize(
    ("name", "info", "values"),
    [
        ("observation.images.aaa", {"info": {"is_depth_map": True, "depth_unit": "mm"}}, deep),
        ("observation.images.aaa", {"info": {"video.is_depth_map": True}}, deep),
        ("observation.images.aaa", {"video_info": {"video.is_depth_map": True}}, shallow),
        ("observation.images.cam_depth", {}, shallow),
        (
            "observation.images.cam_d",
            {},
            deep,
        ),  # neither declared nor named as depth: only the images show it
    ],
)
def test_depth_is_a_camera_only_on_request(
    root: Path, name: str, info: dict[str, Any], values: Callable[[int], list[Any]], tmp_path: Path
) -> None:
    add_column(root, name, values, ONE_CHANNEL | info)
    camera = name.removeprefix("observation.images.")
    dataset = LeRobotDataset(root)
    assert dataset.cameras == ("front", "wrist")
    assert list(dataset.about["left_out"]) == [name]
    assert "distances" in dataset.about["left_out"][name]
    new, done = convert(root)
    assert name in done.left_out and name not in new.meta.features
    asked = LeRobotDataset(root, cameras=(camera, "front"))
    assert asked.cameras == (camera, "front") and "left_out" not in asked.about
    if values is deep:  # 16 bits are not cut off
        with pytest.raises(DataError, match=f"row 0: {name} has pixels of more than 8 bits"):
            asked.episode(0).frames([0], camera)
    else:
        frame = asked.episode(0).frames([1], camera)[0].numpy()
        assert np.array_equal(frame, np.repeat((depth_mm(1) >> 8)[None], 3, axis=0))


def test_a_camera_declared_as_not_depth_is_used_whatever_its_name(root: Path) -> None:
    name = "observation.images.depth_coloured"
    add_column(root, name, colour, {**ONE_CHANNEL, "shape": [64, 64, 3], "info": {"is_depth_map": False}})
    dataset = LeRobotDataset(root)
    assert dataset.cameras[0] == "depth_coloured"
    assert read_codes(dataset.episode(1).frames(camera="depth_coloured")) == list(range(6))


def test_a_depth_video_is_not_a_camera(root: Path) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.front"]["info"] = {"video.is_depth_map": True}
    (root / "meta/info.json").write_text(json.dumps(info))
    dataset = LeRobotDataset(root)
    assert dataset.cameras == ("wrist",)
    new, done = convert(root)
    assert new.cameras == ("wrist",) and "observation.images.front" in done.left_out
    clips = find_videos(str(root)).segments
    assert len(clips) == len(LENGTHS) and all("wrist" in str(clip.path) for clip in clips)


def test_cameras_that_give_no_clips_are_reported(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    add_column(root, "observation.images.top", colour, ONE_CHANNEL | {"shape": [64, 64, 3]})
    assert len(find_videos(str(root)).segments) == 2 * len(LENGTHS)
    assert "observation.images.top: its images are in the data files: convert" in caplog.text


def test_a_clip_of_several_tasks_has_all_of_them(root: Path) -> None:
    lines = [
        json.dumps({"episode_index": i, "tasks": ["a", "b"][i:], "length": n}) for i, n in enumerate(LENGTHS)
    ]
    (root / "meta/episodes.jsonl").write_text("\n".join(lines))
    assert {segment.label for segment in find_videos(str(root)).segments} == {"a / b", "b"}


def test_an_image_of_damaged_or_huge_size_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_column(root, "observation.images.top", colour, ONE_CHANNEL | {"shape": [64, 64, 3]})
    dataset = LeRobotDataset(root)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64)
    with pytest.raises(
        DataError, match=r"row 2: observation.images.top is not a whole image .*decompression bomb"
    ):
        dataset.episode(0).frames([2], "top")


def test_two_features_of_one_name_are_two_cameras(root: Path) -> None:
    add_column(root, "front", colour, ONE_CHANNEL | {"shape": [64, 64, 3]})
    dataset = LeRobotDataset(root)
    assert sorted(dataset.cameras) == ["front", "observation.images.front", "wrist"]
    assert all(dataset.episode(0).frames([1], camera).shape == (1, 3, 64, 64) for camera in dataset.cameras)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b", "c", "d"], ["a", "b", "c", "d"]),
        ({"motors": ["a", "b"], "axes": ["c", "d"]}, ["a", "b", "c", "d"]),
        ({"arm": {"motors": ["a", "b", "c", "d"]}}, ["a", "b", "c", "d"]),
        ([["a", "b", "c", "d"]], ["a", "b", "c", "d"]),
        ({"d": 3, "a": 0, "c": 2, "b": 1}, ["a", "b", "c", "d"]),
        (None, [f"observation.state_{i}" for i in range(4)]),
        (["a"], [f"observation.state_{i}" for i in range(4)]),
        ([1, 2, 3, 4], [f"observation.state_{i}" for i in range(4)]),
        ("state", [f"observation.state_{i}" for i in range(4)]),
    ],
)
def test_names_are_read_in_every_nesting(root: Path, names: Any, expected: list[str]) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.state"]["names"] = names
    (root / "meta/info.json").write_text(json.dumps(info))
    assert list(LeRobotDataset(root).state_names) == expected


def test_unrelated_files_in_a_dataset_are_ignored(root: Path) -> None:
    for name in ("README.md", ".gitattributes", "meta/notes.txt", "data/.DS_Store", "videos/preview.gif"):
        (root / name).write_text("words")
    (root / "meta/episodes_stats.jsonl").unlink()
    dataset = LeRobotDataset(root)
    assert dataset.num_episodes == 2 and "left_out" not in dataset.about
    assert dataset.episode(0).columns["next.success"].dtype == np.bool_
    assert convert(root)[1].left_out == {}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        (
            "timestamp",
            lambda n: ["x"] * n,
            "column timestamp is declared as numbers, and the file has string",
        ),
        ("timestamp", lambda n: [[0.0, 1.0]] * n, "column timestamp does not have 1 numbers in each row"),
        ("task_index", lambda n: [[0, 1]] * n, "column task_index does not have 1 numbers in each row"),
        ("episode_index", lambda n: [[]] * n, "column episode_index"),
        (
            "observation.state",
            lambda n: ["x"] * n,
            "observation.state is declared as numbers, and the file has str",
        ),
        ("observation.state", lambda n: [{"x": 1.0}] * n, "observation.state is declared as numbers"),
        ("action", lambda n: [None] * n, "column action"),
    ],
)
def test_columns_of_another_type_than_declared_are_reported(
    root: Path, name: str, values: Callable[[int], list[Any]], message: str
) -> None:
    add_column(root, name, values, None)
    dataset = LeRobotDataset(root)
    with pytest.raises(DataError, match=message):
        dataset.episode(0)


def test_single_numbers_may_be_lists_of_one(root: Path) -> None:
    before = LeRobotDataset(root).episode(1)
    for name in ("timestamp", "frame_index", "index", "task_index", "episode_index"):
        for file in root.glob("data/*/*.parquet"):
            table = pq.read_table(file)
            column = pa.array([[value] for value in table[name].to_pylist()])
            pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), file)
    after = LeRobotDataset(root).episode(1)
    assert np.array_equal(after.timestamps_s, before.timestamps_s) and after.task == before.task
    assert read_codes(after.frames(camera="front")) == list(range(LENGTHS[1]))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (lambda n: ["a.png"] * n, "row 1: observation.images.top holds no image, but 'a.png'"),
        (
            lambda n: [{"bytes": None, "path": "../../a.png"}] * n,
            "holds no image, but {'bytes': None, 'path'",
        ),
        (lambda n: [None] * n, "holds no image, but None"),
        (lambda n: [7] * n, "holds no image, but 7"),
        (lambda n: [{"bytes": b"words", "path": None}] * n, "is not a whole image"),
        (
            lambda n: [png(coded_frame(0, 64 - 16 * (row == 1))) for row in range(n)],
            r"sizes \[\(48, 48\), \(64, 64\)\]",
        ),
    ],
)
def test_cells_without_an_image_are_reported(
    root: Path, values: Callable[[int], list[Any]], message: str
) -> None:
    add_column(root, "observation.images.top", values, ONE_CHANNEL | {"shape": [64, 64, 3]})
    with pytest.raises(DataError, match=message):
        LeRobotDataset(root).episode(0).frames([1, 2], "top")


def test_a_camera_without_a_column_is_reported(root: Path) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"]["observation.images.top"] = ONE_CHANNEL
    (root / "meta/info.json").write_text(json.dumps(info))
    with pytest.raises(
        DataError, match="has no column observation.images.top, which meta/info.json declares"
    ):
        LeRobotDataset(root).episode(0).frames([0], "top")
