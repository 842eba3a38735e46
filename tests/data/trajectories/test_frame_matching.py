"""The frame of a row is the nearest in time, as in LeRobot, or there is an error."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.coded_video import copy_shifted, read_codes, write_coded
from tests.data.v21_files import FPS, write_v21
from vjepa_world.data.trajectories.convert import ConversionConfig, convert_trajectories
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.frame_matching import nearest_frames
from vjepa_world.data.trajectories.trajectory import VideoSpan
from vjepa_world.errors import ConfigError, DataError

LENGTH = 10
JITTER_S = np.array([0, -4, 3, -2, 4, -3, 2, -4, 1, -2]) / 1000


def recorded(root: Path, stamps_s: np.ndarray, **reader: object) -> LeRobotDataset:
    """Write an episode whose video shows frame i at i / FPS, and whose clock says `stamps_s`."""
    write_v21(root, (len(stamps_s),))
    (file,) = root.glob("data/*/*.parquet")
    table = pq.read_table(file)
    column_index = table.schema.get_field_index("timestamp")
    pq.write_table(table.set_column(column_index, "timestamp", pa.array(stamps_s.astype(np.float32))), file)
    return LeRobotDataset(root, **reader)  # type: ignore[arg-type]


EVEN_S = np.arange(LENGTH) / FPS


@pytest.mark.parametrize("camera", ["front", "wrist"])  # with and without B-frames
@pytest.mark.parametrize("scale", [1, 5])  # 4 ms, as real clocks are off, and 20 ms
def test_a_small_clock_offset_matches_each_row_to_its_frame(tmp_path: Path, camera: str, scale: int) -> None:
    episode = recorded(tmp_path / "set", EVEN_S + scale * JITTER_S).episode(0)
    assert read_codes(episode.frames(camera=camera)) == list(range(LENGTH))
    for row in range(LENGTH):  # alone too
        assert read_codes(episode.frames([row], camera)) == [row]
    assert read_codes(episode.frames([7, 1, 7, 4], camera)) == [7, 1, 7, 4]


@pytest.mark.parametrize(
    ("stamps_s", "message"),
    [
        (EVEN_S * 1.04, r"row 7: its timestamp is 0\.7280 s .*displayed at 0\.7000 s, allowed are 0\.0250 s"),
        (EVEN_S * 0.9, "row 3: its timestamp is 0.2700 s"),
        (EVEN_S + 0.05, "row 0: its timestamp is 0.0500 s"),
        (np.where(np.arange(LENGTH) == 4, 0.3, EVEN_S), "rows 3 and 4 have timestamps 0.3000 s and 0.3000 s"),
        (np.where(np.arange(LENGTH) == 4, 0.1, EVEN_S), "rows 3 and 4 have timestamps 0.3000 s and 0.1000 s"),
        (EVEN_S - 0.1, "row 0: its timestamp is -0.1000 s"),
    ],
)
def test_a_clock_outside_of_the_video_is_an_error_at_every_row(
    tmp_path: Path, stamps_s: np.ndarray, message: str
) -> None:
    episode = recorded(tmp_path / "set", stamps_s).episode(0)
    for rows in ([0], [LENGTH - 1], None):
        with pytest.raises(DataError, match=message):
            episode.frames(rows, "front")


def test_the_tolerance_is_the_callers_choice(tmp_path: Path) -> None:
    recorded(tmp_path / "set", EVEN_S + 5 * JITTER_S)
    strict = LeRobotDataset(tmp_path / "set", tolerance_s=1e-4)  # LeRobot's default
    with pytest.raises(DataError, match=r"row 1: its timestamp is 0\.0800 s .*allowed are 0\.0001 s"):
        strict.episode(0).frames([0], "front")
    wide = LeRobotDataset(tmp_path / "set", tolerance_s=0.05)
    assert read_codes(wide.episode(0).frames(camera="front")) == list(range(LENGTH))
    for wrong in (-1, float("nan"), "wide", True):
        with pytest.raises(ConfigError, match=r"tolerance_s \[s\]"):
            LeRobotDataset(tmp_path / "set", tolerance_s=wrong)  # type: ignore[arg-type]


def test_a_jittered_clock_survives_conversion(tmp_path: Path) -> None:
    before = recorded(tmp_path / "set", EVEN_S + JITTER_S)
    convert_trajectories(ConversionConfig(source=tmp_path / "set", destination=tmp_path / "new"), workers=1)
    after = LeRobotDataset(tmp_path / "new")
    assert np.array_equal(after.episode(0).timestamps_s, before.episode(0).timestamps_s)
    assert read_codes(after.episode(0).frames(camera="wrist")) == list(range(LENGTH))


def test_a_video_that_skips_frames_is_followed(tmp_path: Path) -> None:
    """Frames at 0, 0.1, 0.3, 0.4 ... and rows at the same times: a variable rate."""
    stamps_s = np.array([0, 1, 3, 4, 8, 9, 10, 14, 15, 16]) / 10
    dataset = recorded(tmp_path / "set", stamps_s + JITTER_S)
    (path,) = (tmp_path / "set").glob("videos/*/*front/*.mp4")
    write_coded(path, [round(1000 * stamp) for stamp in stamps_s.tolist()])
    assert read_codes(dataset.episode(0).frames(camera="front")) == list(range(LENGTH))
    (path.parents[1] / "observation.images.wrist" / path.name).write_bytes(path.read_bytes())
    convert_trajectories(ConversionConfig(source=tmp_path / "set", destination=tmp_path / "new"), workers=1)
    assert read_codes(LeRobotDataset(tmp_path / "new").episode(0).frames(camera="front")) == list(
        range(LENGTH)
    )


def span(from_s: float, to_s: float) -> VideoSpan:
    return VideoSpan(path=Path("file.mp4"), from_s=from_s, to_s=to_s)


def test_the_next_episode_of_a_shared_file_is_not_touched() -> None:
    starts_s, stamps_s = np.arange(20) / 10, np.arange(5) / 10
    found = nearest_frames(starts_s, span(0.5, 1.0), stamps_s, fps=10, where="here")
    assert found.tolist() == [5, 6, 7, 8, 9]
    with pytest.raises(DataError, match=r"here, row 4: its timestamp is 1\.0000 s .*none after 0\.9750 s"):
        nearest_frames(starts_s, span(0.5, 1.0), stamps_s + 0.1, fps=10, where="here")


def test_rows_may_be_rarer_than_frames() -> None:
    found = nearest_frames(np.arange(90) / 30, span(0.0, 3.0), np.arange(30) / 10, fps=10, where="here")
    assert found.tolist() == list(range(0, 90, 3))


@pytest.mark.parametrize("seed", range(20))
def test_any_clock_gives_the_nearest_frame_or_an_error(seed: int) -> None:
    """Against all distances, and against the row's own number."""
    rng = np.random.default_rng(seed)
    starts_s = np.cumsum(rng.uniform(0.02, 0.2, 40))
    starts_s -= starts_s[0]
    stamps_s = starts_s + rng.normal(0, 0.004 * (1 + seed % 3), 40)
    try:
        found = nearest_frames(starts_s, span(0.0, starts_s[-1] + 0.1), stamps_s, fps=10, where="here")
    except DataError:
        return
    assert np.array_equal(found, np.abs(starts_s - stamps_s[:, None]).argmin(axis=1))
    assert np.array_equal(found, np.arange(40))


@pytest.mark.parametrize("counted_from", ["the first frame", "the file's own zero"])
def test_a_video_that_does_not_start_at_zero_is_read_by_either_clock(
    dataset_root: Path, tmp_path: Path, counted_from: str
) -> None:
    root = shutil.copytree(dataset_root, tmp_path / "set")
    for file in root.glob("videos/*/*/*.mp4"):
        delay_start(file, BEGIN_S)
    if counted_from == "the file's own zero":
        (table_file,) = root.glob("meta/episodes/*/*.parquet")
        table = pq.read_table(table_file)
        for name in ("from_timestamp", "to_timestamp"):
            column = f"videos/observation.images.main/{name}"
            later = pa.array(table[column].to_numpy() + BEGIN_S)
            table = table.set_column(table.schema.get_field_index(column), column, later)
        pq.write_table(table, table_file)
    moved, original = LeRobotDataset(root), LeRobotDataset(dataset_root)
    assert moved.num_episodes == original.num_episodes == 5
    for number in range(5):
        expected = read_codes(original.episode(number).frames())
        assert read_codes(moved.episode(number).frames()) == expected
        assert read_codes(moved.episode(number).frames([len(expected) - 1])) == expected[-1:]


BEGIN_S = 0.4  # two frames


def delay_start(file: Path, begin_s: float) -> None:
    """Write a video again so that its first frame is displayed at `begin_s`."""
    moved = file.with_suffix(".moved.mp4")
    copy_shifted(file, moved, begin_s)
    with av.open(str(moved)) as made:
        assert next(made.decode(video=0)).time == pytest.approx(begin_s, abs=1e-3)
    moved.replace(file)
