"""Every way to specify a corpus finds the same files; bad ones are reported, counted and limited."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from tests.data.coded_video import write_coded
from tests.data.conftest import SHARD_LENGTHS
from vjepa_world.data.corpus.corpus import BadFiles, clip_span_s, find_videos
from vjepa_world.data.corpus.describe import describe_videos
from vjepa_world.data.corpus.locations import TarMember
from vjepa_world.data.corpus.segments import Segment, Segments
from vjepa_world.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two good videos at two depths, and files that are not videos."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "deep" / ".hidden").mkdir(parents=True)
    write_coded(root / "b.mp4", range(0, 2000, 100))
    write_coded(root / "deep" / "a.MKV", range(0, 1000, 100))
    write_coded(root / ".half.mp4", range(0, 500, 100))
    write_coded(root / "deep" / ".hidden" / "c.mp4", range(0, 500, 100))
    (root / "notes.txt").write_text("not a video")
    return root


def test_folder_glob_list_and_file_select_the_same_videos(folder: Path, tmp_path: Path) -> None:
    expected = [folder / "b.mp4", folder / "deep" / "a.MKV"]
    listed = tmp_path / "list.csv"
    listed.write_text(f"path,label\n{expected[0]},push\n{expected[1]},\n", encoding="utf-8")
    for source in (folder, f"{folder}/**/*", listed):
        assert sorted({segment.path for segment in find_videos(source).segments}) == expected
    assert [segment.label for segment in find_videos(listed).segments] == ["push", ""]
    assert [segment.path for segment in find_videos(folder / "b.mp4").segments] == [folder / "b.mp4"]


def test_paths_in_a_list_are_relative_to_it(folder: Path) -> None:
    listed = folder / "list.csv"
    listed.write_text("label,path\npush,deep/a.MKV\n", encoding="utf-8")
    try:
        corpus = find_videos(listed)
    finally:
        listed.unlink()
    good, bad = corpus.usable(0.5, 0.0)
    assert [segment.path for segment in good] == [folder / "deep" / "a.MKV"]
    assert len(bad) == 0


def test_an_empty_corpus_is_an_error_with_the_searched_suffixes(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(
        DataError, match=r"No video found in .*\.mp4 .*\.mkv .*in the folders below"
    ) as caught:
        find_videos(tmp_path)
    assert str(tmp_path) in str(caught.value)
    with pytest.raises(DataError, match="No video found"):
        find_videos(f"{tmp_path}/*.mp4")
    for missing in ("nowhere", "nowhere.mp4"):
        with pytest.raises(DataError, match="No such file or folder"):
            find_videos(tmp_path / missing)
    with pytest.raises(DataError, match="No such list"):
        find_videos(tmp_path / "nowhere.csv")


def test_a_list_without_the_column_is_refused(tmp_path: Path) -> None:
    listed = tmp_path / "list.csv"
    listed.write_text("file,label\na.mp4,push\n", encoding="utf-8")
    with pytest.raises(DataError, match="no column 'path' in its first line; it has: file, label"):
        find_videos(listed)


def test_bad_files_are_skipped_up_to_the_limit(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "words.mp4").write_text("words")
    write_coded(tmp_path / "short.mp4", range(0, 500, 100))
    rows = [*tmp_path.glob("*.mp4"), folder / "b.mp4", folder / "deep" / "a.MKV", "gone.mp4"]
    listed = tmp_path / "list.csv"
    listed.write_text("\n".join(["path", *map(str, rows)]), encoding="utf-8")
    corpus = find_videos(listed)
    with caplog.at_level(logging.WARNING):
        good, bad = corpus.usable(0.8, 0.7)
    assert [segment.path.name for segment in good] == ["b.mp4", "a.MKV"]
    assert [segment.end_s for segment in good] == [pytest.approx(2.0), pytest.approx(1.0)]
    assert len(bad) == 4
    logged = "\n".join(record.getMessage() for record in caplog.records)
    for name, reason in (
        ("empty.mp4", "zero bytes"),
        ("words.mp4", "no video at all"),
        ("short.mp4", "shorter than the window of 0.80 s: it lasts 0.50 s"),
        ("gone.mp4", "No such video file"),
    ):
        lines = [line for line in logged.splitlines() if name in line]
        assert len(lines) == 1
        assert reason in lines[0]
    with pytest.raises(
        DataError, match=r"4 of 6 videos are bad; data.max_bad_fraction=0.5 allows 3"
    ) as caught:
        corpus.usable(0.8, 0.5)
    assert all(name in str(caught.value) for name in ("empty.mp4", "words.mp4", "short.mp4", "gone.mp4"))


def test_the_error_lists_ten_and_counts_the_rest() -> None:
    bad = BadFiles(max_fraction=0.1)
    for number in range(25):
        bad.add(f"{number}.mp4", f"{number}.mp4 is broken")
        bad.add(f"{number}.mp4", "the same again")
    bad.check(250)
    with pytest.raises(
        DataError, match=r"25 of 249 .*\n  0\.mp4 is broken\n[\s\S]*9\.mp4 is broken\n  \.\.\. and 15 more$"
    ):
        bad.check(249)


def test_a_corpus_of_bad_files_is_an_error_whatever_the_limit() -> None:
    bad = BadFiles(max_fraction=1.0)
    bad.check(0)
    bad.add("a.mp4", "a.mp4 is broken")
    bad.check(2)
    with pytest.raises(DataError, match="1 of 1"):
        bad.check(1)


def test_a_dataset_is_split_into_its_episodes(dataset_root: Path) -> None:
    lengths = [length for shard in SHARD_LENGTHS for length in shard]
    for source in (dataset_root, dataset_root.parent):
        segments = find_videos(source).segments
        assert len(segments) == len(lengths)
        for segment, length in zip(segments, lengths, strict=True):
            assert segment.end_s is not None
            assert segment.end_s - segment.start_s == pytest.approx(length / 5)
    assert segments[3].start_s == 0.0
    assert segments[2].start_s == pytest.approx(19 / 5)
    good, bad = find_videos(dataset_root).usable(clip_span_s(9, 5.0), 0.5)
    assert [segment.episode for segment in good] == [0, 2, 4]
    assert [name.rpartition("(")[2] for name in bad.reasons] == ["episode 1)", "episode 3)"]


def test_each_real_file_is_taken_once_under_its_own_name(tmp_path: Path) -> None:
    root = tmp_path / "set"
    (root / "a").mkdir(parents=True)
    write_coded(root / "b.mp4", range(0, 1000, 100))
    (tmp_path / "pool").mkdir()
    write_coded(tmp_path / "pool" / "x.mp4", range(0, 500, 100))
    (root / "a" / "0.mp4").symlink_to("../b.mp4")
    (root / "a" / "up").symlink_to("..")
    (root / "c.mp4").hardlink_to(root / "b.mp4")
    (root / "d.mp4").symlink_to(tmp_path / "pool" / "x.mp4")  # as caches of hubs have their files
    for source in (root, f"{root}/**/*.mp4", f"{root}/**"):
        corpus = find_videos(source)
        assert [segment.path.name for segment in corpus.segments] == ["b.mp4", "d.mp4"]
        assert corpus.left_out.repeated == 2
        assert {kept for _, kept in corpus.left_out.repeats} == {str(root / "b.mp4")}


def test_a_broken_link_is_bad(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 1000, 100))
    (tmp_path / "b.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "c.mp4").symlink_to("c.mp4")
    good, bad = find_videos(tmp_path).usable(0.5, 0.9)
    assert [segment.path.name for segment in good] == ["a.mp4"]
    assert sorted(Path(name).name for name in bad.reasons) == ["b.mp4", "c.mp4"]


def test_files_of_other_types_are_counted_and_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 1000, 100))
    for name in ("b.ts", "c.TS", "deep/d.gif", "notes.txt", ".e.ts"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    left = find_videos(tmp_path).left_out
    assert left.kinds == {".ts": 2, ".gif": 1}
    [line] = [record.getMessage() for record in caplog.records if "unsupported types" in record.getMessage()]
    assert (
        f"3 files of unsupported types: 2 .ts ({tmp_path}/b.ts, ...), 1 .gif ({tmp_path}/deep/d.gif)" in line
    )
    assert "3 files of unsupported types: 2 .ts" in describe_videos(tmp_path).render()
    (tmp_path / "a.mp4").unlink()
    with pytest.raises(
        DataError, match=r"No video found in .* There are 3 files of unsupported types: 2 \.ts"
    ):
        find_videos(tmp_path)


def test_bad_rows_are_counted_as_rows(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 1000, 100))
    rows = [f"a.mp4,{number % 3 / 10},{number % 3 / 10 + 0.2}" for number in range(30)]
    (tmp_path / "list.csv").write_text("\n".join(["path,start,end", *rows, "a.mp4,,"]))
    corpus = find_videos(tmp_path / "list.csv")
    good, bad = corpus.usable(0.5, 0.99)
    assert (len(good), len(bad), len(bad.reasons)) == (1, 30, 3)
    with pytest.raises(DataError, match=r"30 of 31 videos are bad; data.max_bad_fraction=0.5 allows 15"):
        corpus.usable(0.5, 0.5)
    with pytest.raises(DataError, match="31 of 31 videos are bad"):
        corpus.usable(2.0, 1.0)


def test_a_segment_by_column_is_the_same_segment(tmp_path: Path) -> None:
    member = TarMember(tmp_path / "a.tar", "x/1.mp4", 512, 100)
    rows = [
        Segment(tmp_path / "a.mp4"),
        Segment(tmp_path / "a.mp4", 1.5, 3.0, "push", piece="1.5 s to 3 s"),
        Segment(Path("relative.png"), label="b"),
        Segment(tmp_path / "d.mp4", 0.0, 2.0, "c", episode=7),
        Segment(tmp_path / "a.tar", member=member),
        Segment(Path("/top.mp4")),
    ]
    segments = Segments.of(rows)
    assert list(segments) == rows
    assert [segment.name for segment in segments] == [row.name for row in rows]
    assert segments.image.tolist() == [False, False, True, False, False, False]
    assert list(segments.take(np.array([4, 1]))) == [rows[4], rows[1]]


@pytest.mark.parametrize("path", ["a.mp4", "deep/b.mp4", "/abs/c.mp4", "/top.mp4", "../up.png", "x//y.JPG"])
def test_paths_of_a_list_are_joined_to_its_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "list.csv").write_text(f"path\n{path}\n{path}\n")
    first, second = find_videos(tmp_path / "list.csv").segments
    assert first.path == second.path == tmp_path / path
    assert first.is_image == path.lower().endswith(("png", "jpg"))


def test_folders_deeper_than_a_name_may_be_long_are_bad(tmp_path: Path) -> None:
    write_coded(tmp_path / "a.mp4", range(0, 2000, 100))
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=folder)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    corpus = find_videos(tmp_path)
    assert [segment.path.name for segment in corpus.segments] == ["a.mp4"]
    assert [reason.endswith("take it out of the data.") for _, reason in corpus.bad] == [True]
    assert "File name too long" in corpus.bad[0][1]


def test_descriptions_of_files_come_in_order(tmp_path: Path) -> None:
    for number in (2, 1):
        write_coded(tmp_path / f"{number}.mp4", range(0, 1000 * number, 100))
    headers = find_videos(tmp_path).headers()
    assert list(headers) == [headers[0], headers[1]]
    assert headers.duration_s.tolist() == pytest.approx([1.0, 2.0])
