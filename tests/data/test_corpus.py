"""Every way to name a corpus finds the same files, and bad ones are named, counted, and limited."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.data.coded_video import write_coded
from tests.data.conftest import SHARD_LENGTHS
from vjepa_world.data.corpus import BadFiles, clip_span_s, find_videos
from vjepa_world.errors import DataError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with two good videos at two depths, and files that are none."""
    root = tmp_path_factory.mktemp("corpus")
    (root / "deep" / ".hidden").mkdir(parents=True)
    write_coded(root / "b.mp4", range(0, 2000, 100))
    write_coded(root / "deep" / "a.MKV", range(0, 1000, 100))
    write_coded(root / ".half.mp4", range(0, 500, 100))
    write_coded(root / "deep" / ".hidden" / "c.mp4", range(0, 500, 100))
    (root / "notes.txt").write_text("not a video")
    return root


def test_folder_glob_list_and_file_name_the_same_videos(folder: Path, tmp_path: Path) -> None:
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


def test_no_video_is_an_error_that_says_what_was_looked_for(tmp_path: Path) -> None:
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


def test_all_bad_is_an_error_whatever_the_limit() -> None:
    bad = BadFiles(max_fraction=1.0)
    bad.check(0)
    bad.add("a.mp4", "a.mp4 is broken")
    bad.check(2)
    with pytest.raises(DataError, match="1 of 1"):
        bad.check(1)


def test_a_dataset_is_cut_into_its_episodes(dataset_root: Path) -> None:
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
