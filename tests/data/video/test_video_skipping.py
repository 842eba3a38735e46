"""Unneeded frames are skipped in decoding, and the others stay bit-exact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.data.coded_video import cut_by_edit_list, read_codes, write_coded
from tests.data.video.test_video import STEADY_MS, VARIABLE_MS
from tests.data.video.test_video import STREAMS as HARD
from vjepa_world.data.video.av_decoder import KEPT_BYTES, AvDecoder
from vjepa_world.data.video.decoder import PYAV
from vjepa_world.data.video.packet_roles import packet_roles
from vjepa_world.data.video.reader import open_video

STREAMS: dict[str, dict[str, Any]] = {
    **HARD,
    "h264_long.mp4": {"gop": 250},
    "h264_strict.mp4": {"options": {"x264-params": "b-pyramid=strict:bframes=8:ref=5"}, "gop": 40},
    "h264_no_b.mp4": {"b_frames": 0, "gop": 20},
    "h264_refresh.mp4": {"options": {"x264-params": "intra-refresh=1"}, "gop": 20},
    "h264.avi": {"b_frames": 0, "gop": 30},
    "hevc_layers.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "temporal-layers=3"},
        "gop": 40,
    },
    "mpeg4.mkv": {"codec": "mpeg4", "b_frames": 2, "gop": 15},
    "av1.mkv": {"codec": "libsvtav1", "options": {"preset": "8", "crf": "15"}, "b_frames": None},
}

#: Streams with frames that nothing refers to.
SPARE = ("h264.mp4", "h264_open.mp4", "h264.mkv", "hevc_open.mp4", "hevc_closed.mp4", "h264_long.mp4")


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    for name, settings in STREAMS.items():
        write_coded(folder / name, STEADY_MS, **settings)
        if not name.endswith(".avi"):  # it has no times of its own, and this one's last two frames share one
            write_coded(folder / f"variable_{name}", VARIABLE_MS, **settings)
    return folder


def disposable(codec: str, header: bytes | None, packets: list[memoryview]) -> list[bool]:
    return [role.disposable for role in packet_roles(codec, header, packets)]


def decoded_from_the_start(path: Path) -> Tensor:
    """Return all frames, uint8 [T,C,H,W], with PyAV alone."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)


def requests(rng: np.random.Generator) -> list[list[int]]:
    """Single frames, sparse, dense, unsorted and repeated ones, the first and last, and steps on from the last."""
    sparse = [(start + np.arange(0, 40, 7)).tolist() for start in rng.integers(0, 40, 5)]
    single = [[int(index)] for index in rng.integers(0, 80, 8)]
    mixed = [rng.integers(0, 80, 9).tolist() for _ in range(4)]
    steps = [[10], [11], [12, 14], [13], [15, 16, 17], [30], [29], [79], [0, 79, 0]]
    return [*sparse, *single, *mixed, *steps, [5, 5, 4, 4], list(range(20, 45))]


@pytest.mark.parametrize("kept_bytes", [KEPT_BYTES, 0])
@pytest.mark.parametrize("name", STREAMS)
def test_every_request_gives_the_frames_of_a_complete_decoding(
    streams: Path, name: str, kept_bytes: int
) -> None:
    for path in sorted(streams.glob(f"*{name}")):
        if path.name not in (name, f"variable_{name}"):
            continue
        whole = decoded_from_the_start(path)
        decoder = AvDecoder(str(path), 1, kept_bytes=kept_bytes)
        assert decoder.num_frames == len(whole) == 80
        for indices in requests(np.random.default_rng(7)):
            assert torch.equal(decoder.at_indices(indices), whole[indices]), (path.name, indices)
        assert torch.equal(decoder.all_frames(), whole)


@pytest.mark.parametrize("name", [name for name in STREAMS if name.startswith(("h264", "hevc"))])
def test_skipped_frames_are_those_that_ffmpeg_can_skip(streams: Path, name: str) -> None:
    """FFmpeg's `skip_frame` drops the same frames; with sub-layers it would drop more, inexactly."""
    with av.open(str(streams / name)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        flags = disposable(
            stream.codec.canonical_name,
            stream.codec_context.extradata,
            [memoryview(packet) for packet in packets],
        )
    with av.open(str(streams / name)) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONREF"
        needed = {frame.pts for frame in container.decode(stream)}
    left_out = {packet.pts for packet, flag in zip(packets, flags, strict=True) if flag}
    everything = {packet.pts for packet in packets}
    if name == "hevc_layers.mp4":
        assert left_out and left_out <= everything - needed
    else:
        assert left_out == everything - needed
    assert bool(left_out) or name not in SPARE


@pytest.mark.parametrize("name", ["h264.mp4", "hevc_closed.mp4"])
def test_start_codes_and_length_prefixes_are_equivalent(streams: Path, name: str) -> None:
    with av.open(str(streams / name)) as container:
        stream = container.streams.video[0]
        codec, header = stream.codec.canonical_name, stream.codec_context.extradata
        packets = [packet for packet in container.demux(stream) if packet.size]
        by_length = disposable(codec, header, [memoryview(packet) for packet in packets])
        rewrite = av.BitStreamFilterContext(f"{codec}_mp4toannexb", stream)
        rewritten = [out for packet in packets for out in rewrite.filter(packet)]
        by_code = disposable(codec, b"\0\0\0\1", [memoryview(packet) for packet in rewritten])
    assert by_code == by_length
    assert 10 < sum(by_code) < 70


def test_damaged_or_unknown_packets_are_not_skipped() -> None:
    avcc = bytes([1, 100, 0, 31, 0xFF])
    spare, needed, header = b"\0\0\0\2\x01\x9a", b"\0\0\0\2\x41\x9a", b"\0\0\0\2\x67\x64"
    packets = [
        spare,
        needed,
        spare + header,
        spare + needed,
        spare[:-1],
        b"\0\0\0\0" + spare,
        b"",
        spare + b"\0",
    ]
    flags = disposable("h264", avcc, [memoryview(packet) for packet in packets])
    assert flags == [True, False, False, False, False, False, False, False]
    assert disposable("vp9", avcc, [memoryview(spare)]) == [False]


@pytest.mark.skipif(PYAV < 17, reason="FFmpeg 7, which comes with PyAV 15, counts one frame less")
def test_frames_removed_by_an_edit_list_are_skipped_too(tmp_path: Path) -> None:
    whole, cut = write_coded(tmp_path / "whole.mp4", STEADY_MS, gop=24, b_frames=3), tmp_path / "cut.mp4"
    cut_by_edit_list(whole, cut)
    for kept_bytes in (KEPT_BYTES, 0):
        decoder = AvDecoder(str(cut), 1, kept_bytes=kept_bytes)
        assert decoder.num_frames == 80 - 31
        order = np.random.default_rng(3).permutation(decoder.num_frames).tolist()
        for size in (1, 5, 49):
            for first in range(0, 45, size):
                indices = order[first : first + size]
                assert read_codes(decoder.at_indices(indices)) == [31 + index for index in indices]


class Counting(AvDecoder):
    """Counts how often it goes back to a keyframe."""

    num_starts = 0

    def _begin_at(self, index: int) -> bool:
        self.num_starts += 1
        return super()._begin_at(index)


@pytest.mark.parametrize("kept_bytes", [KEPT_BYTES, 0])
def test_sequential_reads_do_not_restart_at_the_keyframe(streams: Path, kept_bytes: int) -> None:
    decoder = Counting(str(streams / "h264_long.mp4"), 1, kept_bytes=kept_bytes)
    read = [read_codes(decoder.at_indices([first, first + 1])) for first in range(0, 76, 2)]
    assert read == [[first, first + 1] for first in range(0, 76, 2)]
    # What was left out after the last frame, before it was known to be wanted, is not there without going back.
    assert decoder.num_starts < 30
    dense = Counting(str(streams / "h264_no_b.mp4"), 1, kept_bytes=kept_bytes)
    assert [code for index in range(80) for code in read_codes(dense.at_indices([index]))] == list(range(80))
    with av.open(str(streams / "h264_no_b.mp4")) as container:
        keyframes = sum(packet.is_keyframe for packet in container.demux(video=0))
    assert dense.num_starts == keyframes < 10  # once per group of pictures


def test_a_decoder_continues_after_an_error(streams: Path, tmp_path: Path) -> None:
    data = bytearray((streams / "h264_no_b.mp4").read_bytes())
    with av.open(str(streams / "h264_no_b.mp4")) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    broken = packets[30]
    assert broken.pos is not None
    data[broken.pos : broken.pos + broken.size] = bytes(broken.size)
    (tmp_path / "broken.mp4").write_bytes(data)
    decoder = AvDecoder(str(tmp_path / "broken.mp4"), 1)
    with pytest.raises(Exception, match="Invalid data"):
        decoder.at_indices([25, 35])
    assert read_codes(decoder.at_indices([3, 25, 60])) == [3, 25, 60]


@pytest.mark.parametrize("width", [96, 320])
def test_vp9_frames_of_any_width_are_exact(tmp_path: Path, width: int) -> None:
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(
            "libvpx-vp9", rate=10, options={"cpu-used": "8", "deadline": "realtime"}
        )
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, 64, "yuv420p"
        noise = np.random.default_rng(0).integers(0, 256, (30, 8, width // 8, 3), np.uint8)
        for picture in noise.repeat(8, axis=1).repeat(8, axis=2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    indices = [29, 3, 3, 17]
    expected = decoded_from_the_start(path)[indices]
    assert torch.equal(AvDecoder(str(path), 1, kept_bytes=0).at_indices(indices), expected)
    assert torch.equal(open_video(path).frames_by_index(indices), expected)
