"""Both sides of the decoding benchmark give the same pixels, from videos as x264 writes them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from vjepa_world.bench import data
from vjepa_world.data.video import backends as video_backends
from vjepa_world.data.video.backends import BACKEND_VARIABLE


def test_all_sides_give_the_same_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "FRAMES", 130)
    monkeypatch.setattr(data, "VIDEOS", 1)
    path = data._write_video(tmp_path / "0.mp4", seed=3)
    with av.open(str(path)) as container:
        kinds = [av.video.frame.PictureType(frame.pict_type).name for frame in container.decode(video=0)]
    assert len(kinds) == 130
    assert 0.2 < kinds.count("B") / 130 < 0.8
    assert (
        12e3 < path.stat().st_size / (130 / data.FPS) < 63e3
    )  # bytes per second, as real videos of this size
    times_s = data._clip_times(seed=3)
    theirs = data._decord_clips([path], times_s)
    for backend in data._backends():
        ours = data._our_clips([path], times_s, backend)
        for number, reopen in ((0, False), (1, True), (2, False)):
            clip = ours(number, reopen)
            assert clip.shape == (data.CLIP, data.HEIGHT, data.WIDTH, 3)
            assert np.array_equal(clip, theirs(number, reopen))
            assert not np.array_equal(clip[0], clip[-1])


def test_each_back_end_that_loads_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BACKEND_VARIABLE, "pyav")
    assert data._backends() in (["pyav", "torchcodec"], ["pyav"])
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    video_backends._load_torchcodec.cache_clear()
    assert data._backends() == ["pyav"]
    assert os.environ[BACKEND_VARIABLE] == "pyav"  # as before
    video_backends._load_torchcodec.cache_clear()


def test_processor_time_counts_work_and_not_waiting() -> None:
    import time

    def work() -> None:
        end = time.process_time() + 0.05
        while time.process_time() < end:
            pass

    pair = data._core_pair(work, lambda: time.sleep(0.1), 2)
    assert 0.05 <= pair.ours < 0.2
    assert pair.baseline < 0.05
