"""Reading by time is exact for every kind of stream, and bad files are reported."""

from __future__ import annotations

import itertools
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from tests.data.coded_video import SIZE, cut_by_edit_list, read_codes, write_coded
from vjepa_world.data.video import backends as video_backends
from vjepa_world.data.video.decoder import PYAV
from vjepa_world.data.video.reader import VideoError, open_video, probe_video
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import ConfigError, DataError

STEADY_MS = range(0, 8000, 100)
VARIABLE_MS = np.cumsum(np.random.default_rng(3).integers(20, 300, 80)).tolist()
VARIABLE_MS = [time - VARIABLE_MS[0] for time in VARIABLE_MS]

# What is hard for decoders: long groups of B-frames, frames displayed before the keyframe they are stored behind.
STREAMS: dict[str, dict[str, Any]] = {
    "h264.mp4": {},
    "h264_open.mp4": {"options": {"x264-params": "open-gop=1"}, "gop": 24},
    "h264.mkv": {"gop": 24},
    "hevc_open.mp4": {"codec": "libx265", "gop": 24},
    "hevc_closed.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "open-gop=0"},
        "gop": 24,
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"cpu-used": "8", "deadline": "realtime"},
        "b_frames": None,
    },
}


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name, settings in STREAMS.items():
        write_coded(folder / name, STEADY_MS, **settings)
        write_coded(folder / f"variable_{name}", VARIABLE_MS, **settings)
    return folder


def expected_at(times_s: np.ndarray, starts_ms: Sequence[int]) -> list[int]:
    """Return the last frame that starts at or before each time, by definition."""
    return [max(i for i, start in enumerate(starts_ms) if start <= time * 1000 + 1e-6) for time in times_s]


@pytest.mark.parametrize("name", STREAMS)
def test_random_times_give_the_frame_on_display(streams: Path, name: str) -> None:
    rng = np.random.default_rng(0)
    for path, starts_ms in ((streams / name, STEADY_MS), (streams / f"variable_{name}", VARIABLE_MS)):
        with open_video(path) as video:
            assert video.num_frames == 80
            for _ in range(15):
                # On the millisecond, away from the boundaries, which the tolerance blurs.
                times_s = (rng.integers(0, starts_ms[-1], 6) // 10 * 10 + 5) / 1000
                assert read_codes(video.frames_at(times_s)) == expected_at(times_s, starts_ms)


@pytest.mark.parametrize("name", STREAMS)
def test_a_frames_own_time_gives_that_frame_in_spite_of_rounding(streams: Path, name: str) -> None:
    order = np.random.default_rng(1).permutation(80)
    for path, starts_ms in ((streams / name, STEADY_MS), (streams / f"variable_{name}", VARIABLE_MS)):
        times_s = (np.array(starts_ms)[order] / 1000).astype(np.float32).astype(np.float64)
        with open_video(path) as video:
            assert read_codes(video.frames_at(times_s)) == order.tolist()
            assert read_codes(video.frames_by_index(order.tolist())) == order.tolist()


def test_preloaded_frames_are_those_decoded_one_by_one(streams: Path) -> None:
    times_s = np.random.default_rng(2).uniform(0, VARIABLE_MS[-1] / 1000, 30)
    for name in STREAMS:
        with open_video(streams / f"variable_{name}") as video:
            decoded = video.frames_at(times_s)
            video.preload()
            assert video.is_preloaded
            assert torch.equal(video.frames_at(times_s), decoded)


def test_time_counts_from_the_first_frame(tmp_path: Path) -> None:
    for name in ("late.mp4", "late.mkv"):
        path = write_coded(tmp_path / name, range(700, 3700, 100))
        assert probe_video(path).duration_s == pytest.approx(3.0)
        with open_video(path) as video:
            assert video.duration_s == pytest.approx(3.0, abs=1e-5)
            assert read_codes(video.frames_at([0.0, 0.1, 2.95])) == [0, 1, 29]


def test_frames_removed_by_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    whole = write_coded(tmp_path / "whole.mp4", STEADY_MS, gop=24, b_frames=2)
    cut = tmp_path / "cut.mp4"
    cut_by_edit_list(whole, cut)
    with open_video(cut) as video:
        assert read_codes(video.frames_at([0.0, 0.1, 1.0, 4.0])) == [31, 32, 41, 71]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_flag_turns_the_frames(tmp_path: Path, degrees: int) -> None:
    path = write_coded(tmp_path / "turned.mp4", STEADY_MS, rotation=degrees)
    with av.open(
        str(path)
    ) as container:  # x264 does not write the same twice, so it is this file's own frame
        stored = next(itertools.islice(container.decode(video=0), 5, None)).to_ndarray(format="rgb24")
    plain = torch.from_numpy(stored).permute(2, 0, 1)[None]
    turned = open_video(path).frames_by_index([5])
    assert torch.equal(turned, torch.rot90(plain, degrees // 90, dims=(2, 3)))


@pytest.mark.parametrize("width", [16, 48, 96, 144])
def test_narrow_widths_are_read(tmp_path: Path, width: int) -> None:
    frames = np.zeros((5, 32, width, 3), np.uint8)
    frames += (np.arange(5, dtype=np.uint8) * 40)[:, None, None, None]
    with open_video(write_video(tmp_path / "narrow.mp4", frames, 5)) as video:
        read = video.frames_at([0.8, 0.0, 0.4])
    assert read.shape == (3, 3, 32, width)
    assert (read.float().mean((1, 2, 3)) - torch.tensor([160.0, 0.0, 80.0])).abs().max() < 2


def test_real_files_agree_with_decoding_from_the_start(real_videos: Path) -> None:
    for path in sorted(real_videos.glob("*.m*")):
        with av.open(str(path)) as container:
            stream = container.streams.best("video")
            assert isinstance(stream, av.VideoStream)
            first = itertools.islice(container.decode(stream), 100)
            frames = [frame.to_ndarray(format="rgb24") for frame in first]
        with open_video(path) as video:
            picked = np.random.default_rng(4).choice(len(frames), 5).tolist()
            read = video.frames_by_index(picked).permute(0, 2, 3, 1).numpy()
        for number, frame in zip(picked, read, strict=True):
            assert np.array_equal(frame, frames[number]), (path.name, number)


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "text", "audio", "truncated", "truncated_mkv", "folder"]
)
def test_bad_files_are_reported_with_the_reason(tmp_path: Path, damage: str) -> None:
    path, expected = make_bad(tmp_path, damage)
    for read in (probe_video, open_video):
        with pytest.raises(VideoError, match=expected) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert isinstance(caught.value, DataError)


def make_bad(folder: Path, damage: str) -> tuple[Path, str]:
    path = folder / ("bad.mkv" if damage == "truncated_mkv" else "bad.mp4")
    if damage == "empty":
        path.touch()
        return path, "zero bytes"
    if damage == "text":
        path.write_text("these are words, not a video\n" * 50)
        return path, "no video at all"
    if damage == "folder":
        path.mkdir()
        return path, "not a file"
    if damage == "audio":
        write_silence(path)
        return path, r"no video stream \(its streams: audio\)"
    if damage.startswith("truncated"):
        whole = write_coded(folder / f"whole{path.suffix}", STEADY_MS)
        data = whole.read_bytes()
        path.write_bytes(data[: len(data) * 7 // 10])
        return path, "truncated"
    return path, "No such video file"


def write_silence(path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def test_truncation_is_detected_if_the_index_comes_first(tmp_path: Path) -> None:
    whole, first = write_coded(tmp_path / "whole.mp4", STEADY_MS), tmp_path / "first.mp4"
    with av.open(str(whole)) as source, av.open(str(first), "w", options={"movflags": "faststart"}) as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    if PYAV >= 17:  # earlier ones write no duration of the last frame
        assert read_codes(open_video(first).frames_at([7.95])) == [79]
    first.write_bytes(first.read_bytes()[:-10])
    with pytest.raises(VideoError, match="truncated: its header declares"):
        probe_video(first)


def test_zeroed_middle_is_an_error_not_grey_frames(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "zeroed.mp4", STEADY_MS, gop=10)
    data = bytearray(path.read_bytes())
    middle, length = len(data) // 3, len(data) // 4
    data[middle : middle + length] = bytes(length)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="decoding failed") as caught:
        open_video(path).frames_at(np.arange(80) / 10)
    assert str(path) in str(caught.value)


def test_broadcast_containers_are_refused_with_the_remedy(tmp_path: Path) -> None:
    path = write_coded(tmp_path / "live.ts", STEADY_MS)
    with pytest.raises(VideoError, match=r"ffmpeg -i live.ts -c copy live.mp4"):
        open_video(path)


@pytest.mark.parametrize("suffix", ["mp4", "m3u8"])
def test_a_list_of_other_files_is_not_a_video(tmp_path: Path, suffix: str) -> None:
    write_coded(tmp_path / "secret.mp4", STEADY_MS)
    text = "ffconcat version 1.0\nfile secret.mp4\n"
    if suffix == "m3u8":
        text = "#EXTM3U\n#EXT-X-TARGETDURATION:8\n#EXTINF:8,\nsecret.mp4\n#EXT-X-ENDLIST\n"
    path = tmp_path / f"list.{suffix}"
    path.write_text(text)
    with pytest.raises(VideoError, match=f"list.{suffix}: it is a playlist"):
        open_video(path)


def test_times_outside_and_closed_files_are_errors(streams: Path) -> None:
    video = open_video(streams / "h264.mp4")
    for time_s in (-0.1, 8.2, float("nan")):
        with pytest.raises(VideoError, match="displayed from 0 to 8.000 s"):
            video.frames_at([0.0, time_s])
    with pytest.raises(VideoError, match="it has 80"):
        video.frames_by_index([80])
    video.close()
    with pytest.raises(VideoError, match="closed"):
        video.frames_at([0.0])


def test_the_header_has_the_written_properties(streams: Path) -> None:
    info = probe_video(streams / "h264.mp4")
    assert (info.codec, info.width, info.height, info.num_frames) == ("h264", SIZE, SIZE, 80)
    assert info.fps == pytest.approx(10.0, rel=1e-3)
    assert info.duration_s == pytest.approx(8.0, abs=1e-3)
    assert probe_video(streams / "hevc_open.mp4").codec == "hevc"
    assert probe_video(streams / "vp9.webm").codec == "vp9"


def hide_torchcodec(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate a torchcodec that finds no FFmpeg."""
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    video_backends._load_torchcodec.cache_clear()


def test_the_fallback_is_logged_in_one_line_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(video_backends.BACKEND_VARIABLE, raising=False)
    hide_torchcodec(monkeypatch)
    with caplog.at_level(logging.WARNING):
        assert [video_backends.find_backend() for _ in range(2)] == ["pyav", "pyav"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert "which reads all formats; torchcodec is optional and did not load" in line and "\n" not in line
    video_backends._load_torchcodec.cache_clear()


def test_a_variable_selects_the_back_end(
    streams: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("VJEPA_WORLD_VIDEO_BACKEND", "pyav")
    assert video_backends.find_backend() == "pyav"
    assert not caplog.records  # it was asked for
    monkeypatch.setenv("VJEPA_WORLD_VIDEO_BACKEND", "pyaw")
    with pytest.raises(
        ConfigError, match="BACKEND is 'pyaw'; did you mean 'pyav'.* auto, decord, pyav, torchcodec"
    ):
        open_video(streams / "h264.mp4")
    monkeypatch.setenv("VJEPA_WORLD_VIDEO_BACKEND", "torchcodec")
    hide_torchcodec(monkeypatch)
    with pytest.raises(
        DataError, match="BACKEND is torchcodec, and that did not load.* set it to auto or pyav"
    ):
        open_video(streams / "h264.mp4")
    video_backends._load_torchcodec.cache_clear()
    monkeypatch.setenv("VJEPA_WORLD_VIDEO_BACKEND", "decord")
    monkeypatch.setitem(sys.modules, "decord", None)
    video_backends._load_decord.cache_clear()
    with pytest.raises(
        DataError,
        match=r"BACKEND is decord, and that did not load.*pip install 'vjepa-world\[decord\]'.* pyav",
    ):
        open_video(streams / "h264.mp4")


@pytest.mark.parametrize("size", [(37, 53), (99, 31), (17, 2)])
def test_odd_sizes_are_read_completely(tmp_path: Path, size: tuple[int, int]) -> None:
    width, height = size
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for level in (10, 120, 230):
            pixels = np.full((height, width, 3), level, np.uint8)
            pixels[-1, -1] = 0  # the last row and column are there
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    read = open_video(path).frames_by_index([0, 1, 2])
    assert read.shape == (3, 3, height, width)
    assert (read[:, :, -1, -1] == 0).all()
    assert [int(frame[0, 0, 0]) for frame in read] == [10, 120, 230]


def test_the_best_of_several_streams_is_read(tmp_path: Path) -> None:
    coded, small = write_coded(tmp_path / "coded.mp4", STEADY_MS), tmp_path / "small.mp4"
    write_video(small, np.zeros((20, 32, 32, 3), np.uint8), 10)
    both = tmp_path / "both.mkv"
    with av.open(str(coded)) as best, av.open(str(small)) as other, av.open(str(both), "w") as out:
        sources = (other, best)  # the worse one comes first
        copies = [out.add_stream_from_template(source.streams.video[0]) for source in sources]
        for source, copy in zip(sources, copies, strict=True):
            for packet in source.demux(source.streams.video[0]):
                if packet.dts is not None:
                    packet.stream = copy
                    out.mux(packet)
    info = probe_video(both)
    assert (info.width, info.height) == (SIZE, SIZE)
    assert read_codes(open_video(both).frames_at([0.05, 7.95, 4.01])) == [0, 79, 40]
