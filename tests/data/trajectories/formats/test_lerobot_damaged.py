"""A damaged entry, file or column of a LeRobotDataset loses only its own data, with a report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.v21_files import write_v21
from vjepa_world.data.trajectories.convert import ConversionConfig, convert_trajectories
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import DataError

LENGTHS = (5, 4, 6)
WRIST = "videos/observation.images.wrist"


def convert(source: Path, target: Path) -> Path:
    convert_trajectories(ConversionConfig(source=source, destination=target), workers=1)
    return target


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_v21(tmp_path / "old", LENGTHS)


@pytest.fixture
def new(old: Path, tmp_path: Path) -> Path:
    return convert(old, tmp_path / "new")


def change_list(root: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    file = root / "meta/episodes/chunk-000/file-000.parquet"
    pq.write_table(pa.Table.from_pylist([change(row) for row in pq.read_table(file).to_pylist()]), file)


def add_column(root: Path, name: str, make: Callable[[int], pa.Array]) -> None:
    for file in sorted(root.glob("data/*/*.parquet")):
        table = pq.read_table(file)
        kept = table.drop_columns([name]) if name in table.column_names else table
        pq.write_table(kept.append_column(name, make(table.num_rows)), file)


def declare(root: Path, name: str, **feature: Any) -> None:
    info = json.loads((root / "meta/info.json").read_text())
    info["features"][name] = {"shape": [1], "names": None, **feature}
    (root / "meta/info.json").write_text(json.dumps(info))


@pytest.mark.parametrize("empty", [None, float("nan")])
def test_an_episode_without_a_camera_is_left_out_unless_others_are_chosen(new: Path, empty: float) -> None:
    def without(row: dict[str, Any]) -> dict[str, Any]:
        # pandas turns the indices of the others into floating point.
        mine = {key: float(value) for key, value in row.items() if key.startswith(WRIST)}
        return {**row, **(dict.fromkeys(mine, empty) if row["episode_index"] == 1 else mine)}

    change_list(new, without)
    dataset = LeRobotDataset(new)
    assert [episode.index for episode in dataset.episodes] == [0, 2]
    assert "a camera has no video of them" in dataset.about["left_out"]["episode 1"]
    assert len(LeRobotDataset(new, cameras=("front",)).episodes) == 3


@pytest.mark.parametrize("change", [{"length": None}, {"length": -1}, {"tasks": [None]}])
def test_one_damaged_entry_of_the_list_is_left_out(new: Path, change: dict[str, Any]) -> None:
    change_list(new, lambda row: row | (change if row["episode_index"] == 1 else {}))
    dataset = LeRobotDataset(new)
    assert [episode.length for episode in dataset.episodes] == [5, 6]
    assert f"episode 1: {next(iter(change))} is None" in dataset.about["left_out"]["episode 1"].replace(
        "-1", "None"
    )


def test_a_list_whose_entries_are_all_damaged_is_refused(new: Path) -> None:
    change_list(new, lambda row: row | {"length": None})
    with pytest.raises(DataError, match="episode 0: length is None; expected a whole number"):
        LeRobotDataset(new)


def test_a_damaged_file_of_the_list_loses_only_its_episodes(new: Path) -> None:
    (new / "meta/episodes/chunk-000/file-001.parquet").write_bytes(b"damaged")
    (new / "meta/episodes/chunk-000/._file-000.parquet").write_bytes(b"of another program")
    dataset = LeRobotDataset(new)
    assert dataset.num_episodes == 3
    assert list(dataset.about["left_out"]) == ["meta/episodes/chunk-000/file-001.parquet"]


def test_a_damaged_first_data_file_does_not_affect_the_others(old: Path, tmp_path: Path) -> None:
    (old / "data/chunk-000/episode_000000.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1")
    done = convert_trajectories(
        ConversionConfig(source=old, destination=tmp_path / "new"), workers=1, max_bad_fraction=0.5
    )
    assert (done.episodes, done.frames, len(done.bad)) == (2, 10, 1)


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        (lambda rows: pa.nulls(rows), "type null"),
        (lambda rows: pa.array([b"a"] * rows), "type binary"),
        (lambda rows: pa.array([["a", "b"]] * rows), "type list<"),
        (None, "no such column"),
    ],
)
def test_a_declared_column_that_cannot_be_read_is_left_out(
    old: Path, column: Callable[[int], pa.Array] | None, reason: str, tmp_path: Path
) -> None:
    declare(old, "note", dtype="string")
    if column is not None:
        add_column(old, "note", column)
    done = convert_trajectories(ConversionConfig(source=old, destination=tmp_path / "new"), workers=1)
    assert done.episodes == 3 and reason in done.left_out["note"]
    assert "note" not in LeRobotDataset(old).episode(0).columns


def test_a_tensor_column_is_read_and_not_called_left_out(old: Path) -> None:
    declare(old, "grid", dtype="float32", shape=[2, 3])
    grid = np.arange(36, dtype=np.float32).reshape(6, 2, 3)
    add_column(old, "grid", lambda rows: pa.FixedShapeTensorArray.from_numpy_ndarray(grid[:rows]))
    dataset = LeRobotDataset(old)
    assert np.array_equal(dataset.episode(0).columns["grid"], grid[:5])
    assert "left_out" not in dataset.about


def test_single_numbers_in_lists_are_single_numbers(old: Path, tmp_path: Path) -> None:
    declare(old, "load", dtype="float32")
    add_column(old, "load", lambda rows: pa.array([[i / 2] for i in range(rows)], pa.list_(pa.float32(), 1)))
    for root in (old, convert(old, tmp_path / "new")):
        assert LeRobotDataset(root).episode(0).columns["load"].tolist() == [0.0, 0.5, 1.0, 1.5, 2.0]


@pytest.mark.parametrize("value", ["False", float("nan")])
def test_success_that_is_not_a_flag_is_unknown(old: Path, value: object) -> None:
    declare(old, "next.success", dtype="string" if value == "False" else "float32")
    add_column(old, "next.success", lambda rows: pa.array([value] * rows))
    assert LeRobotDataset(old).episode(0).success is None


@pytest.mark.parametrize("value", ["now", [1.0, 2.0], float("nan")])
def test_an_invalid_clock_is_refused(old: Path, value: object) -> None:
    add_column(old, "observation.clock_s", lambda rows: pa.array([value] * rows))
    with pytest.raises(DataError, match=r"observation\.clock_s"):
        LeRobotDataset(old).episode(0)


def test_poses_of_another_size_are_plain_columns(old: Path) -> None:
    add_column(old, "camera_extrinsics.wrist", lambda rows: pa.array([[1.0, 2.0, 3.0]] * rows))
    episode = LeRobotDataset(old).episode(0)
    assert list(episode.extrinsics) == ["front"]
    assert episode.columns["camera_extrinsics.wrist"].shape == (5, 3)


@pytest.mark.parametrize("declared", [True, False])
def test_videos_of_16_bits_are_depth(old: Path, declared: bool) -> None:
    info = {"video.pix_fmt": "gray16le", "video.is_depth_map": False} if declared else {}
    declare(old, "observation.images.a", dtype="video", shape=[32, 32, 1], info=info)
    for file in sorted(old.glob("videos/*/observation.images.front/*.mp4")):
        target = file.parent.with_name("observation.images.a") / file.name
        target.parent.mkdir(exist_ok=True)
        with av.open(str(target), "w", format="matroska") as out:
            stream = out.add_stream("ffv1", 10)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "gray16le"
            for _ in range(6):
                pixels = np.full((32, 32), 3000, np.uint16)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="gray16le")))
            out.mux(stream.encode())
    dataset = LeRobotDataset(old)
    assert dataset.cameras == ("front", "wrist")
    assert "distances are not colours" in dataset.about["left_out"]["observation.images.a"]


def test_metadata_may_start_with_a_byte_order_mark(old: Path) -> None:
    for name in ("info.json", "episodes.jsonl", "tasks.jsonl"):
        file = old / "meta" / name
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    dataset = LeRobotDataset(old)
    assert [dataset.episode(i).task for i in range(3)] == ["task 0", "task 1", "task 0"]
