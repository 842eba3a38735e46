"""Headers are read once: an index stores them until a file changes, and is rebuilt if damaged."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.data.coded_video import write_coded
from vjepa_world.data.corpus import headers
from vjepa_world.data.corpus.corpus import Corpus, find_videos
from vjepa_world.data.corpus.headers import FileStats, HeaderIndex, Headers
from vjepa_world.data.video.reader import VideoError, VideoInfo

COUNT = 6


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of videos that are a minute old, so that they are indexed."""
    monkeypatch.setenv("VJEPA_WORLD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(headers, "INDEXED_FROM", 2)
    root = tmp_path / "set"
    root.mkdir()
    for number in range(COUNT):
        aged(write_coded(root / f"{number}.mp4", range(0, 1000 + 200 * number, 100)))
    return root


def aged(path: Path, seconds: float = 60.0) -> Path:
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


class Reads:
    """Counts reads: `names` returns the files read since the last call."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._names: list[str] = []
        before = headers.crash_safe_map

        def counted(function: Any, items: Any, crash: Any, timeout_s: float) -> list[Any]:
            self._names += [Path(str(item)).name for item in items]
            return before(function, items, crash, timeout_s)

        monkeypatch.setattr(headers, "crash_safe_map", counted)

    def names(self) -> list[str]:
        names, self._names = self._names, []
        return names


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    return Reads(monkeypatch)


def durations(found: Headers) -> list[float]:
    return found.duration_s.round(3).tolist()


EXPECTED = [round(1.0 + 0.2 * number, 3) for number in range(COUNT)]


def test_the_second_scan_reads_no_file(folder: Path, reads: Reads) -> None:
    first = find_videos(folder).headers()
    assert sorted(reads.names()) == [f"{number}.mp4" for number in range(COUNT)]
    again = find_videos(folder).headers()
    assert reads.names() == []
    assert durations(first) == durations(again) == EXPECTED
    for number in range(COUNT):
        assert first[number] == again[number]
        assert isinstance(again[number], VideoInfo)
        assert again[number].path == folder / f"{number}.mp4"


def test_changed_files_are_read_again_and_missing_ones_removed_from_the_index(
    folder: Path, reads: Reads
) -> None:
    find_videos(folder).headers()
    reads.names()
    aged(write_coded(folder / "2.mp4", range(0, 3000, 100)), 50)
    aged(write_coded(folder / "new.mp4", range(0, 500, 100)))
    (folder / "4.mp4").unlink()
    found = find_videos(folder).headers()
    assert sorted(reads.names()) == ["2.mp4", "new.mp4"]
    assert durations(found) == [1.0, 1.2, 3.0, 1.6, 2.0, 0.5]
    assert durations(find_videos(folder).headers()) == durations(found)
    assert reads.names() == []


def test_same_size_but_another_time_is_read_again(folder: Path, reads: Reads) -> None:
    find_videos(folder).headers()
    reads.names()
    aged(folder / "3.mp4", 30)
    find_videos(folder).headers()
    assert reads.names() == ["3.mp4"]


def test_recently_modified_files_are_not_cached(folder: Path, reads: Reads) -> None:
    """Two changes within a tick of the clock leave one time."""
    write_coded(folder / "5.mp4", range(0, 1500, 100))
    find_videos(folder).headers()
    reads.names()
    assert durations(find_videos(folder).headers())[5] == 1.5
    assert reads.names() == ["5.mp4"]


def test_bad_files_are_cached_except_for_system_errors(folder: Path, reads: Reads) -> None:
    aged(folder / "0.mp4")
    (folder / "0.mp4").write_text("words")
    aged(folder / "0.mp4")
    (folder / "1.mp4").unlink()
    (folder / "1.mp4").symlink_to("nowhere.mp4")
    first = find_videos(folder).headers()
    reads.names()
    again = find_videos(folder).headers()
    assert reads.names() == ["1.mp4"]
    for found in (first, again):
        assert isinstance(found[0], VideoError) and "no video at all" in str(found[0])
        assert "No such video file" in str(found[1])
        assert found.good.tolist() == [False, False, True, True, True, True]


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "other", "folder"])
def test_a_damaged_index_is_rebuilt(folder: Path, reads: Reads, damage: str) -> None:
    find_videos(folder).headers()
    reads.names()
    path = HeaderIndex(str(folder)).path
    data = path.read_bytes()
    if damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "other":
        pq.write_table(pq.read_table(path).drop(["duration_s"]), path)
    else:
        path.write_bytes({"cut": data[: len(data) // 2], "text": b"words", "empty": b""}[damage])
    assert durations(find_videos(folder).headers()) == EXPECTED
    assert len(reads.names()) == COUNT
    find_videos(folder).headers()
    assert (reads.names() == []) == (damage != "folder")


def test_an_index_of_another_version_is_rebuilt(
    folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    find_videos(folder).headers()
    reads.names()
    monkeypatch.setattr(headers, "_VERSION", "another")
    find_videos(folder).headers()
    assert len(reads.names()) == COUNT


def test_without_a_writable_index_files_are_read_each_time(
    folder: Path, reads: Reads, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder.parent / "file").touch()
    monkeypatch.setenv("VJEPA_WORLD_CACHE", str(folder.parent / "file"))
    for _ in range(2):
        assert durations(find_videos(folder).headers()) == EXPECTED
        assert len(reads.names()) == COUNT
    assert "Set VJEPA_WORLD_CACHE to a writable folder" in caplog.text


def wait_and_read(folder: Path, queue: multiprocessing.Queue[tuple[int, list[float]]], go: Event) -> None:
    go.wait(60)
    counts: list[int] = []
    before = headers.crash_safe_map

    def counted(function: Any, items: Any, crash: Any, timeout_s: float) -> list[Any]:
        counts.append(len(items))
        return before(function, items, crash, timeout_s)

    headers.crash_safe_map = counted  # type: ignore[assignment]  # in a child of the test's process
    found = durations(find_videos(folder).headers())
    queue.put((sum(counts), found))


def test_concurrent_processes_read_each_file_once(folder: Path) -> None:
    context = multiprocessing.get_context("fork")
    queue: multiprocessing.Queue[tuple[int, list[float]]] = context.Queue()
    index = HeaderIndex(str(folder))
    index.path.parent.mkdir(parents=True)
    go = context.Event()
    started = [context.Process(target=wait_and_read, args=(folder, queue, go)) for _ in range(3)]
    for process in started:
        process.start()
    with open(index.path.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until all of them wait
        go.set()
        time.sleep(1.0)
        assert queue.empty()
    results = [queue.get(timeout=60) for _ in started]
    for process in started:
        process.join(20)
    assert [values for _, values in results] == [EXPECTED] * 3
    assert sorted(count for count, _ in results) == [0, 0, COUNT]


def test_several_names_of_a_file_are_read_once_and_reported_separately(
    folder: Path, reads: Reads, tmp_path: Path
) -> None:
    (folder / "0.mp4").write_text("words")
    links = tmp_path / "links"
    links.mkdir()
    rows = ["path"]
    for number in range(30):
        (links / f"{number}.mp4").symlink_to(folder / f"{number % COUNT}.mp4")
        rows.append(f"links/{number}.mp4")
    (tmp_path / "list.csv").write_text("\n".join(rows))
    found = find_videos(tmp_path / "list.csv").headers()
    assert len(reads.names()) == COUNT
    assert durations(found)[1:6] == EXPECTED[1:] == durations(found)[25:30][0:5]
    assert "links/24.mp4" in str(found[24]) and "links/0.mp4" not in str(found[24])
    assert "links/0.mp4" in str(found[0])


def test_states_report_missing_files(folder: Path) -> None:
    (folder / "1.mp4").unlink()
    files = Corpus("x", find_videos(folder).segments).segments.files
    (folder / "0.mp4").unlink()
    states = FileStats.of(files)
    assert states.size[0] == -1 and (states.size[1:] > 0).all()
    assert len(np.unique(states.inode[1:])) == COUNT - 2
