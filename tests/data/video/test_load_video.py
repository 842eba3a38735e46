"""`load_video` returns the requested frames: all, at a rate, or a number of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.data.coded_video import SIZE, read_codes, write_coded
from vjepa_world.data.video.reader import VideoError, load_video
from vjepa_world.errors import ConfigError


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a video of 40 frames at 10 per second; each shows its number."""
    path = tmp_path_factory.mktemp("load") / "a.mp4"
    write_coded(path, range(0, 4000, 100))
    return path


def test_every_frame(video: Path) -> None:
    frames = load_video(video)
    assert frames.dtype == torch.uint8
    assert frames.shape == (40, 3, SIZE, SIZE)
    assert frames.is_contiguous()
    assert read_codes(frames) == list(range(40))
    assert read_codes(load_video(str(video), start_s=3.5)) == [35, 36, 37, 38, 39]


def test_at_a_rate(video: Path) -> None:
    assert read_codes(load_video(video, fps=2)) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert read_codes(load_video(video, fps=2, frames=3)) == [0, 5, 10]
    assert read_codes(load_video(video, fps=5, frames=3, start_s=1.0)) == [10, 12, 14]
    assert read_codes(load_video(video, fps=0.1)) == [0]


def test_evenly_spaced(video: Path) -> None:
    assert read_codes(load_video(video, frames=4)) == [5, 15, 25, 35]
    assert read_codes(load_video(video, frames=1, start_s=2.0)) == [30]


def test_impossible_requests_are_refused(video: Path) -> None:
    with pytest.raises(
        VideoError, match=r"has no frame at 4.500 s: its frames are displayed from 0 to 4.000 s"
    ):
        load_video(video, fps=2, frames=10)
    with pytest.raises(VideoError, match="has no frame at 9 s: it lasts 4.000 s"):
        load_video(video, start_s=9)
    for options in ({"fps": 0}, {"frames": 0}, {"fps": float("nan")}):
        with pytest.raises(ConfigError, match="give positive numbers"):
            load_video(video, **options)
    with pytest.raises(VideoError, match="No such video file"):
        load_video(video.with_name("b.mp4"))


def test_a_video_larger_than_memory_is_refused(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vjepa_world.system.memory.free_memory", lambda: 1000)
    with pytest.raises(ConfigError, match="40 frames of .*a.mp4 need at least .* ask for fewer"):
        load_video(video)
