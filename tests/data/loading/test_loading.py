"""Batches do not depend on processes or the first step; a file that kills or stalls a worker is reported."""

from __future__ import annotations

import csv
import ctypes
import faulthandler
import fcntl
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.coded_video import write_coded
from vjepa_world.data.config import SourceConfig, VideoDataConfig
from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.data.loading.loader import ClipLoader
from vjepa_world.data.loading.mixture import ClipMixture
from vjepa_world.data.video import pool as video_pool
from vjepa_world.data.video.reader import VideoFile, open_video
from vjepa_world.errors import ConfigError, DataError

STEPS = 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("corpus")
    for name in "abcde":
        write_coded(root / f"{name}.mp4", range(0, 3000, 100))
    return root


def mixture(path: object = "", *, views: int = 1, **data: Any) -> ClipMixture:
    config = VideoDataConfig(**{"path": str(path), "max_bad_fraction": 0.5, **data})
    return ClipMixture(config, num_frames=4, image_size=32, seed=3, views=views)


def assert_same(one: ClipBatch, other: ClipBatch) -> None:
    assert torch.equal(one.frames, other.frames)
    assert (one.names, one.labels) == (other.names, other.labels)


def test_batches_do_not_depend_on_the_number_of_workers(folder: Path) -> None:
    sources = {
        "clips": SourceConfig(path=str(folder)),
        "images": SourceConfig(path=str(folder), frames_per_clip=1),
    }
    source = mixture(sources=sources, clips_per_video=2)
    alone = list(ClipLoader(source, batch_size=6).batches(0, STEPS))
    assert {batch.frames.shape for batch in alone} == {(6, 4, 3, 32, 32), (6, 1, 3, 32, 32)}
    for workers in (1, 2, 5):
        made = list(ClipLoader(source, batch_size=6, workers=workers).batches(0, STEPS))
        for one, other in zip(alone, made, strict=True):
            assert_same(one, other)


def test_views_have_an_axis_of_their_own(folder: Path) -> None:
    source = mixture(folder, views=2)
    for workers in (0, 1):
        batch = next(ClipLoader(source, batch_size=3, workers=workers).batches(0, 1))
        assert batch.frames.shape == (3, 2, 4, 3, 32, 32)
        assert len(batch) == 3


def test_any_step_may_be_the_first(folder: Path) -> None:
    whole = list(ClipLoader(mixture(folder), batch_size=4, workers=1).batches(0, STEPS))
    for start in (1, 4):
        rest = list(ClipLoader(mixture(folder), batch_size=4, workers=1).batches(start, STEPS))
        assert len(rest) == STEPS - start
        for one, other in zip(whole[start:], rest, strict=True):
            assert_same(one, other)
    assert list(ClipLoader(mixture(folder), batch_size=4, workers=1).batches(STEPS, STEPS)) == []


def test_ranks_share_the_same_global_batch(folder: Path) -> None:
    source = mixture(folder, clips_per_video=2)
    whole = list(ClipLoader(source, batch_size=6).batches(0, STEPS))
    for world_size in (2, 3, 6):
        loaders = [
            ClipLoader(source, batch_size=6, rank=rank, world_size=world_size, workers=rank % 2)
            for rank in range(world_size)
        ]
        parts = zip(*(loader.batches(0, STEPS) for loader in loaders), strict=True)
        for one, shares in zip(whole, parts, strict=True):
            assert torch.equal(one.frames, torch.cat([share.frames for share in shares]))
            assert one.names == tuple(name for share in shares for name in share.names)


def test_a_batch_that_cannot_be_shared_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="trainer.batch_size 6 cannot be shared by 4 processes"):
        ClipLoader(mixture(folder), batch_size=6, rank=0, world_size=4)


def test_a_loader_closed_early_leaves_no_process(folder: Path) -> None:
    before = {child.pid for child in multiprocessing.active_children()}
    batches = ClipLoader(mixture(folder), batch_size=4, workers=2).batches(0, 1000)
    next(batches)
    assert len({child.pid for child in multiprocessing.active_children()} - before) == 2
    batches.close()  # type: ignore[attr-defined]
    assert {child.pid for child in multiprocessing.active_children()} == before


def copied(folder: Path, to: Path) -> Path:
    to.mkdir()
    for path in folder.iterdir():
        (to / path.name).write_bytes(path.read_bytes())
    return to


def rows(path: Path) -> list[tuple[str, str, str]]:
    with open(path, newline="") as stream:
        return [(row["path"], row["reason"], row["step"]) for row in csv.DictReader(stream)]


def test_every_bad_file_is_recorded_once(folder: Path, tmp_path: Path) -> None:
    corpus, listed = copied(folder, tmp_path / "set"), tmp_path / "run" / "bad_files.csv"
    (corpus / "e.mp4").write_bytes(b"")
    source = mixture(corpus)
    (corpus / "c.mp4").write_text("words")
    loader = ClipLoader(source, batch_size=4, workers=2, bad_files=listed)
    batches = list(loader.batches(0, 8))
    found = [(name, step) for step, batch in enumerate(batches) for name, _ in batch.bad]
    assert [name for name, _ in found] == [str(corpus / "c.mp4")]
    (e, reason_e, step_e), (c, reason_c, step_c) = rows(listed)
    assert (e, c) == (str(corpus / "e.mp4"), str(corpus / "c.mp4"))
    assert (step_e, step_c) == ("start", str(found[0][1]))
    assert "zero bytes" in reason_e and "no video at all" in reason_c
    assert all("c.mp4" not in name for batch in batches for name in batch.names)
    # A resumed run finds both at its start; what stands there stays.
    list(ClipLoader(mixture(corpus), batch_size=4, workers=1, bad_files=listed).batches(4, 8))
    assert [row[2] for row in rows(listed)] == ["start", str(found[0][1])]


def test_too_many_bad_files_end_the_run_with_the_list_written(folder: Path, tmp_path: Path) -> None:
    corpus, listed = copied(folder, tmp_path / "set"), tmp_path / "bad_files.csv"
    source = mixture(corpus, max_bad_fraction=0.2)
    for name in "abc":
        (corpus / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 5 videos are bad; data.max_bad_fraction=0.2 allows 1"):
        list(ClipLoader(source, batch_size=1, bad_files=listed).batches(0, 100))
    assert len(rows(listed)) >= 1
    source = mixture(copied(folder, tmp_path / "other"), max_bad_fraction=0.2)
    for name in "abc":
        (tmp_path / "other" / f"{name}.mp4").write_bytes(b"")
    with pytest.raises(DataError, match=r"2 of 5 videos are bad"):
        list(ClipLoader(source, batch_size=1, workers=1).batches(0, 100))


def crash_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let reading `path` crash with a segmentation fault, like a faulty decoder. Forked processes inherit it."""

    def opened(location: Path, **settings: Any) -> VideoFile:
        if location == path:
            faulthandler.disable()  # whose trace would look like a failure of the test
            ctypes.string_at(0)
        return open_video(location, **settings)

    monkeypatch.setattr(video_pool, "open_video", opened)


needs_fork = pytest.mark.skipif(
    multiprocessing.get_start_method() != "fork", reason="the fault is inherited by forked processes"
)


@needs_fork
def test_a_crashing_decoder_is_a_bad_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = tmp_path / "bad_files.csv"
    crash_on(folder / "b.mp4", monkeypatch)
    batches = list(ClipLoader(mixture(folder), batch_size=4, workers=2, bad_files=listed).batches(0, STEPS))
    assert all("b.mp4" not in name for batch in batches for name in batch.names)
    [(path, reason, _)] = rows(listed)
    assert path == str(folder / "b.mp4")
    assert "its decoder crashed (SIGSEGV)" in reason
    # Deterministic: one worker, another start, and a file that cannot be read for an ordinary reason give the same.
    again = list(ClipLoader(mixture(folder), batch_size=4, workers=1).batches(2, STEPS))
    for one, other in zip(batches[2:], again, strict=True):
        assert_same(one, other)
    monkeypatch.undo()
    twin = copied(folder, tmp_path / "set")
    source = mixture(twin)
    (twin / "b.mp4").write_bytes(b"")
    for one, other in zip(batches, ClipLoader(source, batch_size=4).batches(0, STEPS), strict=True):
        assert torch.equal(one.frames, other.frames)


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Hold a write lease on a file: another process that opens it waits until it is given up."""
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)  # how the kernel says that somebody waits
    descriptor = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            pytest.skip("this file system knows no leases")
        yield
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, before)


def test_a_file_that_stalls_is_reported(folder: Path, tmp_path: Path) -> None:
    corpus = copied(folder, tmp_path / "set")
    source = mixture(corpus, timeout_s=1.5)
    start = time.monotonic()
    with (
        leased(corpus / "d.mp4"),
        pytest.raises(DataError, match=r"has been reading .*d\.mp4 for more than 1\.5 s.*data\.timeout_s"),
    ):
        list(ClipLoader(source, batch_size=4, workers=2).batches(0, 20))
    assert time.monotonic() - start < 20
    with (
        leased(corpus / "d.mp4"),
        pytest.raises(DataError, match=r"has been reading .*d\.mp4 for more than 1\.5 s"),
    ):
        mixture(corpus, timeout_s=1.5)


@needs_fork
def test_the_file_of_a_killed_worker_is_reported(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = mixture(folder)

    def opened(location: Path, **settings: Any) -> VideoFile:
        if location == folder / "a.mp4":
            os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does when memory runs out
        return open_video(location, **settings)

    monkeypatch.setattr(video_pool, "open_video", opened)
    with pytest.raises(
        DataError, match=r"was killed by SIGKILL while it was reading .*a\.mp4.*memory ran out"
    ):
        list(ClipLoader(source, batch_size=4, workers=2).batches(0, 20))


def test_a_terminated_worker_is_replaced(folder: Path) -> None:
    whole = list(ClipLoader(mixture(folder), batch_size=4).batches(0, 30))
    before = {child.pid for child in multiprocessing.active_children()}
    made = []
    for batch in ClipLoader(mixture(folder), batch_size=4, workers=2).batches(0, 30):
        made.append(batch)
        if len(made) in (3, 9):
            for child in multiprocessing.active_children():
                if child.pid not in before:
                    os.kill(child.pid or 0, signal.SIGTERM)
    for one, other in zip(whole, made, strict=True):
        assert_same(one, other)
