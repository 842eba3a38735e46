"""CSV and Parquet lists give the same video segments, and bad rows are reported by line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.data.coded_video import read_codes, write_coded
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.corpus import lists
from vjepa_world.data.corpus.corpus import EXTENSIONS, find_videos
from vjepa_world.data.corpus.lists import ListedVideo
from vjepa_world.data.loading.mixture import ClipMixture
from vjepa_world.errors import DataError

ROWS: dict[str, list[Any]] = {
    "path": ["a.mp4", "b.mp4", "a.mp4"],
    "label": ["push", None, "pull"],
    "start": [1.0, None, 4.5],
    "end": [3.0, None, None],
}
VIDEOS = [
    ListedVideo("a.mp4", "push", 1.0, 3.0),
    ListedVideo("b.mp4"),
    ListedVideo("a.mp4", "pull", 4.5, None),
]


def read_list(file: Path) -> list[ListedVideo]:
    return list(lists.read_list(file, EXTENSIONS))


def written(folder: Path, suffix: str, rows: dict[str, list[Any]]) -> Path:
    file = folder / f"list{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table(rows), file)
    else:
        lines = [
            ",".join("" if v is None else str(v) for v in row) for row in zip(*rows.values(), strict=True)
        ]
        file.write_text("\n".join([",".join(rows), *lines]) + "\n", encoding="utf-8-sig")
    return file


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_csv_and_parquet_are_equivalent(tmp_path: Path, suffix: str) -> None:
    assert read_list(written(tmp_path, suffix, {"note": [1, 2, 3], **ROWS})) == VIDEOS
    only = read_list(written(tmp_path, suffix, {"path": ROWS["path"]}))
    assert only == [ListedVideo("a.mp4"), ListedVideo("b.mp4"), ListedVideo("a.mp4")]


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("path", None, "its path is missing"),
        ("start", -1.0, "its start is -1.0, expected seconds from 0 on"),
        ("start", float("nan"), "its start is nan, expected seconds from 0 on"),
        ("end", 0.5, "its end 0.5 s is not after its start 1 s"),
    ],
)
def test_bad_rows_are_reported(tmp_path: Path, column: str, value: object, reason: str) -> None:
    rows = {name: list(values) for name, values in ROWS.items()}
    rows[column][0] = value
    for suffix, location in ((".csv", "line 2"), (".parquet", "row 1")):
        with pytest.raises(
            DataError, match=rf"list{suffix} has 1 bad rows; correct or remove them.*\n  {location}: {reason}"
        ):
            read_list(written(tmp_path, suffix, rows))


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    file = written(tmp_path, ".csv", {"path": ["a.mp4"] * 9, "start": ["soon"] * 9})
    with pytest.raises(
        DataError,
        match=r"9 bad rows.*\n  line 2: its start is 'soon', expected seconds\n[\s\S]*\.\.\. and 4 more$",
    ):
        read_list(file)


def test_wrong_columns_and_broken_files_are_refused(tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet"):
        with pytest.raises(DataError, match=r"has no column 'path'.*it has: file"):
            read_list(written(tmp_path, suffix, {"file": ["a.mp4"]}))
        with pytest.raises(DataError, match="has a column 'start_s'; name it 'start', in seconds"):
            read_list(written(tmp_path, suffix, {"path": ["a.mp4"], "start_s": [1.0]}))
        (tmp_path / f"broken{suffix}").write_bytes(b"path\n\xff\xfe\x00")
        with pytest.raises(DataError, match=rf"Cannot read .*broken{suffix}"):
            read_list(tmp_path / f"broken{suffix}")
        with pytest.raises(DataError, match="No such list"):
            read_list(tmp_path / f"nowhere{suffix}")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_clips_stay_inside_their_segment(tmp_path: Path, suffix: str) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_coded(tmp_path / name, range(0, 6000, 100))
    file = written(tmp_path, suffix, {**ROWS, "path": ["a.mp4", "b.mp4", str(tmp_path / "a.mp4")]})
    config = VideoDataConfig(path=str(file), fps=10.0, crop_scale=(1, 1), crop_ratio=(1, 1), flip=0.0)
    source = ClipMixture(config, num_frames=5, image_size=64, seed=0)
    spans = {"push": (10, 29), "": (0, 59), "pull": (45, 59)}
    names = {"push": "a.mp4 (1 s to 3 s) @ ", "": "b.mp4 @ ", "pull": "a.mp4 (4.5 s to its end) @ "}
    seen = set()
    for entry in range(30):
        clip = source[0, entry]
        codes = read_codes(clip.frames[0])
        first, last = spans[clip.label]
        assert first <= codes[0] and codes[-1] <= last
        assert names[clip.label] in clip.name
        seen.add(clip.label)
    assert seen == set(spans)


def test_a_segment_outside_of_its_file_is_bad(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 3000, 100))
    file = written(tmp_path, ".csv", {"path": ["a.mp4", "a.mp4", "a.mp4"], "start": [0, 2.5, 7]})
    good, bad = find_videos(file).usable(1.0, 0.9)
    assert [segment.start_s for segment in good] == [0.0]
    short, behind = bad.reasons.values()
    assert "a.mp4 (2.5 s to its end) is shorter than the window of 1.00 s: it lasts 0.50 s" in short
    assert "a.mp4 (7 s to its end) starts after its file's end: that lasts 3.00 s" in behind


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary(5), pa.large_string()])
def test_text_of_parquet_is_the_same_whatever_its_type(tmp_path: Path, kind: pa.DataType) -> None:
    rows = pa.table({"path": pa.array([b"a.mp4"], kind), "label": pa.array([b"push!"], kind)})
    pq.write_table(rows, tmp_path / "list.parquet")
    assert read_list(tmp_path / "list.parquet") == [ListedVideo("a.mp4", "push!")]


@pytest.mark.parametrize("cell", [["a.mp4"], {"path": "a.mp4"}])
def test_cells_that_hold_several_values_are_refused(tmp_path: Path, cell: Any) -> None:
    pq.write_table(pa.table({"path": [cell]}), tmp_path / "list.parquet")
    with pytest.raises(DataError, match="'path' .* has cells of type .*; expected text or numbers"):
        read_list(tmp_path / "list.parquet")


def test_bytes_that_are_not_text_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.mp4"], "label": [b"\xff"]}), tmp_path / "list.parquet")
    with pytest.raises(DataError, match="Cannot read .*list.parquet: Invalid UTF8"):
        read_list(tmp_path / "list.parquet")


def test_a_missing_number_is_not_a_label(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"path": ["a.mp4", "b.mp4"], "label": [2.0, float("nan")]}), tmp_path / "l.parquet"
    )
    assert [row.label for row in read_list(tmp_path / "l.parquet")] == ["2.0", ""]


def test_addresses_are_bad_rows(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\na.mp4\nhttps://example.org/b.mp4\n")
    with pytest.raises(DataError, match=r"line 3: its path is an address \(https://example.org/b.mp4\)"):
        read_list(tmp_path / "list.csv")


def test_a_compressed_list_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(gzip.compress(b"path\na.mp4\n"))
    with pytest.raises(DataError, match="list.csv: it is a gzip file. Expected a CSV file"):
        read_list(tmp_path / "list.csv")


@pytest.mark.parametrize("name", ["list.csv.gz", "list.tsv", "list.TXT", "list.jsonl"])
def test_lists_of_other_formats_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("a.mp4\n")
    with pytest.raises(
        DataError, match="is neither a video nor a supported list. Give a list as CSV or Parquet"
    ):
        find_videos(tmp_path / name)
