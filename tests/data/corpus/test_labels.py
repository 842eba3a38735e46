"""Labelled videos and columns are found or their errors reported; clips have the right times."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor

from tests.data.coded_video import SIZE, coded_frame, read_codes
from tests.data.conftest import SHARD_LENGTHS, episode_arrays
from vjepa_world.data.corpus.corpus import Segment
from vjepa_world.data.corpus.labels import labelled_videos
from vjepa_world.data.loading.clip_tables import EpisodeClips, VideoClips
from vjepa_world.data.trajectories.formats.lerobot.numeric_columns import open_column
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.clip_input import ClipInput

FPS = 10


def shown(**changes: Any) -> ClipInput:
    return ClipInput(**{"frames": 4, "fps": float(FPS), "crop": 1.0, "image_size": SIZE, **changes})


def video(path: Path, frames: int = 6) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_video(path, [coded_frame(number) for number in range(frames)], FPS)


def pixels(clip: Tensor | str) -> Tensor:
    assert isinstance(clip, Tensor), clip
    return clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labelled")
    for name in ("jump/1.mp4", "jump/deep/er/2.mp4", "fall/3.mp4", "fall/4.mp4", "fall/5.mp4"):
        video(root / name)
    return root


def labels(path: Path) -> dict[str, str]:
    segments, _ = labelled_videos(path, 0.0)
    return {segment.path.name: segment.label for segment in segments}


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_sub_folder_is_a_class(folder: Path) -> None:
    fall = dict.fromkeys(("3.mp4", "4.mp4", "5.mp4"), "fall")
    assert labels(folder) == {**fall, "1.mp4": "jump", "2.mp4": "jump"}


def test_a_list_gives_the_classes_of_files_next_to_it(folder: Path) -> None:
    quoted = 'fall/3.mp4,5,"fall, slowly"'
    file = csv(folder / "list.csv", "path,note,label", quoted, "", "jump/1.mp4,6,jump")
    assert labels(file) == {"3.mp4": "fall, slowly", "1.mp4": "jump"}
    bom = folder / "excel.csv"
    bom.write_text("path,label\njump/1.mp4,jump\n", encoding="utf-8-sig")
    assert labels(bom) == {"1.mp4": "jump"}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["path,class", "a.mp4,x"],
            "no column 'label' in its first line; it has: path, class. Write 'path,label'",
        ),
        (["label", "x"], "no column 'path' in its first line; it has: label"),
        (
            ["path,label,start,end", "a.mp4,x,0,1"],
            "has a column 'start', but a label is for a whole video",
        ),
        (["path,label", "a.mp4,x", "b.mp4,"], r"list.csv, line 3: the label of 'b.mp4' is missing"),
        (["path,label", "a.mp4"], "line 2: the label of 'a.mp4' is missing"),
        (["path,label", ",x"], "line 2: the path of 'x' is missing"),
        (["path,label"], "lists no video"),
        (["path,label", "a.mp4,x", "a.mp4,y"], "lists some videos more than once: .*a.mp4. List each once"),
        (["path,label", "a.mp4,x", "b.mp4,y"], "2 of 2 videos are bad(.|\n)*No such video file: .*a.mp4"),
    ],
)
def test_errors_of_a_list_are_reported(tmp_path: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        labelled_videos(csv(tmp_path / "list.csv", *lines), 0.0)


def test_errors_of_a_folder_are_reported(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match="nowhere does not exist; give a folder with a sub-folder of videos for each cl"
    ):
        labelled_videos(tmp_path / "nowhere", 0.0)
    with pytest.raises(DataError, match="No such list: .*nowhere.csv"):
        labelled_videos(tmp_path / "nowhere.csv", 0.0)
    with pytest.raises(DataError, match="has no sub-folders; expected one for each class"):
        labelled_videos(tmp_path, 0.0)
    clip = video(tmp_path / "jump" / "1.mp4")
    with pytest.raises(DataError, match="1.mp4 is neither a folder nor a CSV list"):
        labelled_videos(clip, 0.0)
    (tmp_path / "fall").mkdir()
    with pytest.raises(DataError, match="has classes without a video: fall. Add videos"):
        labelled_videos(tmp_path, 0.0)
    video(tmp_path / "fall" / "2.mp4")
    video(tmp_path / "loose.mp4")
    with pytest.raises(
        DataError, match="outside of its classes' folders, so their label is missing: loose.mp4"
    ):
        labelled_videos(tmp_path, 0.0)


def test_unreadable_videos_are_counted(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    lines = [f"{path.resolve()},x" for path in sorted(folder.rglob("*.mp4"))]
    file = csv(tmp_path / "list.csv", "path,label", *lines, "text.mp4,y")
    segments, bad = labelled_videos(file, 0.2)
    assert len(segments) == 5
    assert list(bad.reasons) == [str(tmp_path / "text.mp4")]
    with pytest.raises(DataError, match="1 of 6 videos are bad; data.max_bad_fraction=0.1 allows 0"):
        labelled_videos(file, 0.1)


@pytest.mark.parametrize(
    ("clips", "expected"),
    [
        (1, [[4, 5, 6, 7]]),
        (2, [[2, 3, 4, 5], [6, 7, 8, 9]]),
        (4, [[1, 2, 3, 4], [3, 4, 5, 6], [5, 6, 7, 8], [7, 8, 9, 10]]),
    ],
)
def test_clips_are_spread_evenly_over_a_video(tmp_path: Path, clips: int, expected: list[list[int]]) -> None:
    table = VideoClips([Segment(video(tmp_path / "a.mp4", 12))], shown(), clips)
    assert [read_codes(pixels(table[number])) for number in range(len(table))] == expected


def test_a_clip_stays_inside_its_segment_of_a_video(tmp_path: Path) -> None:
    file = video(tmp_path / "a.mp4", 20)
    pieces = [Segment(file, 0.5, 1.2, "x", 0), Segment(file, 1.2, 1.5, "y", 1)]
    table = VideoClips(pieces, shown(), 2)
    codes = [read_codes(pixels(table[number])) for number in range(4)]
    assert {code for row in codes[:2] for code in row} <= set(range(5, 12))
    # Three frames are too few for four: the last one stands still, and the fourteenth's neighbour is never seen.
    assert codes[2:] == [[12, 13, 14, 14]] * 2
    assert table.groups.tolist() == [0, 0, 1, 1]


def test_a_clip_of_another_rate_shows_other_frames(tmp_path: Path) -> None:
    table = VideoClips([Segment(video(tmp_path / "a.mp4", 12))], shown(fps=5.0), 1)
    assert read_codes(pixels(table[0])) == [2, 4, 6, 8]


def test_an_unreadable_clip_is_returned_as_its_reason(tmp_path: Path) -> None:
    table = VideoClips([Segment(tmp_path / "gone.mp4")], shown(), 1)
    assert re.search("No such video file: .*gone.mp4", str(table[0]))


def test_frames_are_cropped_and_resized_for_the_encoder() -> None:
    frame = torch.zeros(1, 3, 40, 80, dtype=torch.uint8)
    frame[..., 20:60] = 200  # the central square of 40
    frame[..., 35:45] = 100  # its middle
    assert (shown(image_size=40).pixels(frame) == frame[..., 20:60]).all()
    middle = shown(crop=0.25, image_size=10).pixels(frame)
    assert middle.shape[-2:] == (10, 10) and (middle == 100).all()
    whole = shown(crop=0.0, image_size=40).pixels(frame)
    assert whole.shape[-2:] == (40, 40) and (whole[..., :8] == 0).all() and (whole[..., 12:16] == 200).all()
    for changes, message in (
        ({"crop": 1.5}, "crop of a clip is 1.5; allowed is from 0 to 1"),
        ({"frames": 0}, "fra"),
    ):
        with pytest.raises(ConfigError, match=message):
            shown(**changes)


STATES = [
    episode_arrays(shard, sum(lengths[:i]), length)[1]
    for shard, lengths in enumerate(SHARD_LENGTHS)
    for i, length in enumerate(lengths)
]


@pytest.mark.parametrize(
    ("target", "positions", "names"),
    [
        ("observation.state", [0, 1, 2], ("x", "y", "closure")),
        ("observation.state[0:2]", [0, 1], ("x", "y")),
        ("observation.state[1:]", [1, 2], ("y", "closure")),
        ("observation.state[2]", [2], ("closure",)),
    ],
)
def test_a_column_and_a_slice_of_it(
    dataset_root: Path, target: str, positions: list[int], names: tuple[str, ...]
) -> None:
    dataset, column = open_column(dataset_root, target)
    assert column.names == names
    for index, states in enumerate(STATES):
        np.testing.assert_array_equal(column.values(dataset, index), states[:, positions])


def test_actions_and_columns_of_every_dataset_can_be_targets(dataset_root: Path) -> None:
    dataset, action = open_column(dataset_root, "action[1]")
    assert action.names == ("dy",)
    recorded = episode_arrays(0, 12, 7)[2]
    np.testing.assert_array_equal(action.values(dataset, 1)[:-1, 0], recorded[:, 1])
    dataset, stamp = open_column(dataset_root, "timestamp")
    np.testing.assert_allclose(stamp.values(dataset, 1)[:, 0], np.arange(7) / 5, atol=1e-6)
    dataset, task = open_column(dataset_root, "task_index")
    assert set(task.values(dataset, 0)[:, 0]) != set(task.values(dataset, 1)[:, 0])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("observation.stat", "no column 'observation.stat' for target; did you mean 'observation.state'?"),
        (
            "observation.images.main",
            r"'observation.images.main' of .* is not numeric: it is video of shape \[64, 64, 3\]. Numeric columns: obs",
        ),
        (
            "observation.state[3]",
            r"names no numbers of a column of 3; write \[index\] or \[from:to\], counted from",
        ),
        ("observation.state[2:5]", "names no numbers of a column of 3"),
        ("observation.state[2:1]", "names no numbers"),
        ("observation.state[a]", "names no numbers"),
        ("observation.state[]", "names no numbers"),
        ("observation.state[0:3", "is not readable; write NAME"),
    ],
)
def test_an_invalid_column_is_reported(dataset_root: Path, target: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_column(dataset_root, target)


def test_a_missing_number_is_reported(dataset_root: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(dataset_root, root)
    file = sorted(root.glob("data/*/*.parquet"))[0]
    table = pq.read_table(file)
    states = np.array(table["observation.state"].to_pylist(), np.float32)
    states[3, 1] = np.nan
    column = type(table["observation.state"].combine_chunks()).from_arrays(states.ravel(), 3)
    column_index = table.schema.get_field_index("observation.state")
    pq.write_table(table.set_column(column_index, table.schema.field(column_index), column), file)
    dataset, target = open_column(root, "observation.state")
    with pytest.raises(DataError, match="episode 0, row 3: observation.state is not finite"):
        target.values(dataset, 0)


def test_a_clip_of_an_episode_ends_with_its_row(dataset_root: Path) -> None:
    """Frames are numbered from each shard's beginning, those of the second shard from 100."""
    dataset = LeRobotDataset(dataset_root)
    first = (0, 12, 19, 100, 108)
    for frames, fps, back in ((1, 5.0, [0]), (2, 5.0, [1, 0]), (3, 2.5, [4, 2, 0])):
        table = EpisodeClips(dataset, shown(frames=frames, fps=fps), 0)
        assert len(table) == sum(len(states) - back[0] for states in STATES)
        for clip in (0, 5, len(table) - 1):
            row, episode = table.rows[clip], table.groups[clip]
            expected = [first[episode] + row - step for step in back]
            assert read_codes(pixels(table[clip])) == expected


def test_rows_of_an_episode_are_evenly_spaced(dataset_root: Path) -> None:
    table = EpisodeClips(LeRobotDataset(dataset_root), shown(frames=1, fps=5.0), 3)
    assert table.rows[table.groups == 0].tolist() == [2, 6, 10]
    assert table.groups.tolist() == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3


def test_clips_that_episodes_cannot_give_are_refused(dataset_root: Path) -> None:
    dataset = LeRobotDataset(dataset_root)
    with pytest.raises(DataError, match="no episode of .* has the 13 rows of a clip, the longest has 12"):
        EpisodeClips(dataset, shown(frames=13, fps=5.0), 0)
    with pytest.raises(ConfigError, match="data.fps 10 is more than the 5 frames per second of"):
        EpisodeClips(dataset, shown(frames=2), 0)


def test_lists_may_be_parquet_or_written_by_a_spreadsheet(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "set")
    rows = {"path": ["jump/1.mp4", "fall/3.mp4"], "label": ["jump", "fall"]}
    pq.write_table(pa.table(rows), folder / "list.parquet")
    (folder / "sheet.csv").write_bytes(
        "path;label\r\njump/1.mp4;jump\r\nfall/3.mp4;fall\r\n".encode("utf-16")
    )
    (folder / "plain.csv").write_text("jump/1.mp4 jump\nfall/3.mp4 fall\n")
    for name in ("list.parquet", "sheet.csv", "plain.csv"):
        assert labels(folder / name) == {"1.mp4": "jump", "3.mp4": "fall"}
    (folder / "latin.csv").write_bytes("path,label\njump/1.mp4,café\n".encode("latin-1"))
    with pytest.raises(DataError, match="latin.csv: byte 0xe9, .* of line 2, is not UTF-8"):
        labelled_videos(folder / "latin.csv", 0.0)


def test_a_file_listed_under_two_names_is_refused(folder: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(folder, tmp_path / "set")
    (folder / "jump" / "again.mp4").symlink_to("1.mp4")
    file = csv(folder / "list.csv", "path,label", "jump/1.mp4,x", "jump/again.mp4,y")
    with pytest.raises(DataError, match="lists some videos more than once: .*1.mp4 and .*again.mp4"):
        labelled_videos(file, 0.0)
    (folder / "fall" / "other.mp4").symlink_to("../jump/1.mp4")
    with pytest.raises(DataError, match="has some videos in two classes, as links: .*fall/other.mp4"):
        labelled_videos(folder, 0.0)
