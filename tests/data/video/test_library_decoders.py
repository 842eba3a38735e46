"""decord gives the frames of our own decoder bit by bit, and is not used for files that it misreads."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.coded_video import read_codes, write_coded
from tests.data.video.test_video import STEADY_MS, VARIABLE_MS
from vjepa_world.data.video.av_decoder import AvDecoder
from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.backends import BACKEND_VARIABLE, open_decoder
from vjepa_world.data.video.library_decoders import DecordDecoder, decord_is_exact
from vjepa_world.data.video.reader import open_video

VP9 = {"codec": "libvpx-vp9", "b_frames": None, "options": {"cpu-used": "8", "deadline": "realtime"}}
HEVC = {"codec": "libx265", "options": {"x265-params": "open-gop=0"}}
EXACT: dict[str, dict[str, Any]] = {
    "h264.mp4": {"gop": 20},
    "h264.mkv": {"gop": 20},
    "h264_pyramid.mp4": {"gop": 40, "options": {"x264-params": "b-pyramid=strict:bframes=8:ref=5"}},
    "h264_no_b.mp4": {"gop": 20, "b_frames": 0},
    "hevc.mp4": {"gop": 20, **HEVC},
    "vp9.webm": {"gop": 20, **VP9},
    "mpeg4.mp4": {"gop": 15, "codec": "mpeg4", "b_frames": 0},
}
OPEN_GROUPS: dict[str, dict[str, Any]] = {
    "h264.mp4": {"gop": 20, "options": {"x264-params": "open-gop=1:b-adapt=0:scenecut=0"}},
    "hevc.mp4": {"gop": 20, "codec": "libx265", "options": {"x265-params": "open-gop=1"}},
    "mpeg4.mkv": {"gop": 15, "codec": "mpeg4", "b_frames": 2},
}


@pytest.fixture(autouse=True)
def _decord(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("decord")
    monkeypatch.setenv(BACKEND_VARIABLE, "decord")


def decoded_from_the_start(path: Path) -> Tensor:
    """Return all frames, uint8 [T,C,H,W], with PyAV alone."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def write_noise(path: Path, codec: str, width: int, height: int, pix_fmt: str, **options: str) -> Path:
    """Write 30 frames of 8 x 8 blocks of random colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
        blocks = np.random.default_rng(0).integers(0, 256, (30, -(-height // 8), -(-width // 8), 3), np.uint8)
        for number, picture in enumerate(blocks.repeat(8, axis=1).repeat(8, axis=2)[:, :height, :width]):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 10)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("times_ms", [STEADY_MS, VARIABLE_MS], ids=["steady", "variable"])
@pytest.mark.parametrize("name", EXACT)
def test_decord_decodes_every_request_exactly(tmp_path: Path, name: str, times_ms: list[int]) -> None:
    path = write_coded(tmp_path / name, times_ms, **EXACT[name])
    whole, rng = decoded_from_the_start(path), np.random.default_rng(1)
    decoder = open_decoder(str(path), 1)
    assert isinstance(decoder, DecordDecoder)
    assert decoder.num_frames == len(whole) == 80
    for _ in range(30):
        indices = rng.integers(0, 80, rng.integers(1, 6)).tolist()
        assert torch.equal(decoder.at_indices(indices), whole[indices]), indices
    assert torch.equal(decoder.all_frames(), whole)
    decoder.close()


@pytest.mark.parametrize("width", [96, 320])
def test_decord_gives_the_same_frames(tmp_path: Path, width: int) -> None:
    """Frames of 96 pixels cannot be copied by decord; PyAV reads them."""
    path = write_noise(
        tmp_path / "wide.mkv", "libvpx-vp9", width, 64, "yuv420p", deadline="realtime", **{"cpu-used": "8"}
    )
    indices = [29, 3, 3, 17]
    expected = decoded_from_the_start(path)[indices]
    decoder = DecordDecoder(str(path), 1, AvSource(str(path), kept_bytes=0))
    assert torch.equal(decoder.at_indices(indices), expected)
    assert torch.equal(open_video(path).frames_by_index(indices), expected)


@pytest.mark.parametrize("name", OPEN_GROUPS)
def test_open_groups_of_pictures_are_not_decoded_with_decord(tmp_path: Path, name: str) -> None:
    path = write_coded(tmp_path / name, STEADY_MS, **OPEN_GROUPS[name])
    decoder = open_decoder(str(path), 1)
    assert isinstance(decoder, AvDecoder)
    order = np.random.default_rng(2).permutation(80).tolist()
    assert [read_codes(decoder.at_indices([index]))[0] for index in order] == order


@pytest.mark.parametrize(
    ("codec", "width", "height", "pix_fmt"),
    [("libx264", 64, 64, "yuv420p10le"), ("mpeg4", 99, 31, "yuv420p"), ("ffv1", 64, 64, "bgr0")],
)
def test_pixel_formats_that_decord_converts_differently_are_not_decoded_with_it(
    tmp_path: Path, codec: str, width: int, height: int, pix_fmt: str
) -> None:
    path = write_noise(tmp_path / "pixels.mkv", codec, width, height, pix_fmt)
    assert not decord_is_exact(AvSource(str(path), kept_bytes=0))
    with open_video(path) as video:
        assert torch.equal(video.frames_by_index([7, 2]), AvDecoder(str(path), 1).at_indices([7, 2]))
