"""Videos whose frames show their number: eight blocks are its bits."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_world.data.video.decoder import PYAV

SIZE = 64

# In a picture of one coding tree unit (64 pixels by default), x265 now and then leaves a block out: 1 to 3 % of streams
# of 64 x 64 pixels, whatever the threads and the rate, and on one machine five streams in succession.
X265_PARAMS = "log-level=none:ctu=32"


def coded_frame(number: int, size: int = SIZE) -> np.ndarray:
    """Return uint8 [size, size, 3]: two rows of four blocks are the bits of `number` (below 256), and a moving bar."""
    frame = np.full((size, size, 3), 40, np.uint8)
    block = size // 4
    for bit in range(8):
        if number >> bit & 1:
            row, column = divmod(bit, 4)
            frame[block * row : block * (row + 1), block * column : block * (column + 1)] = 220
    left = 3 * number % size
    frame[size // 2 :, left : left + size // 8] = 200
    return frame


def read_code(frame: Tensor) -> int:
    """Return the number in a decoded frame, uint8 [C,H,W]."""
    block = frame.shape[-1] // 4
    centres = [(block * (bit // 4) + block // 2, block * (bit % 4) + block // 2) for bit in range(8)]
    return sum((int(frame[0, y, x]) > 128) << bit for bit, (y, x) in enumerate(centres))


def read_codes(frames: Tensor) -> list[int]:
    """Return the numbers in frames, uint8 [T,C,H,W]."""
    return [read_code(frame) for frame in frames]


def write_coded(
    path: Path,
    times_ms: Sequence[int],
    *,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    b_frames: int | None = 3,
    gop: int = 60,
    rotation: int | None = None,
) -> Path:
    """Encode coded frames 0, 1, 2, ... that are displayed at `times_ms`, with plain PyAV."""
    options = dict(options or {})
    if codec == "libx265":
        options["x265-params"] = ":".join(filter(None, (X265_PARAMS, options.get("x265-params"))))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width = stream.height = SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 1000)
        if b_frames is not None:
            stream.codec_context.max_b_frames = b_frames
        if rotation is not None:
            if PYAV < 17:
                pytest.skip("PyAV 17 is the first that writes rotation flags")
            stream.set_display_rotation(rotation)
        for number, time_ms in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(coded_frame(number), format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert _decoded_codes(path) == list(range(len(times_ms))), f"{codec} wrote {path} wrongly"
    return path


def _decoded_codes(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return [read_code(torch.from_numpy(frame).permute(2, 0, 1)) for frame in frames]


def cut_by_edit_list(whole: Path, cut: Path) -> None:
    """Copy a video of ten frames per second with keyframes at 0, 24, ... so that frame 31 is the first displayed."""
    copy_shifted(whole, cut, -3.05, from_s=2.35)  # the keyframe before it, 24, is copied but not displayed


def copy_shifted(whole: Path, moved: Path, shift_s: float, *, from_s: float = 0.0) -> None:
    """Copy the packets of a video that are displayed at `from_s` or later, each `shift_s` later than before."""
    with (
        av.open(str(whole)) as source,
        av.open(str(moved), "w", options={"avoid_negative_ts": "disabled"}) as out,
    ):
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        assert stream.time_base is not None
        shift = int(shift_s / float(stream.time_base))
        for packet in source.demux(stream):
            if packet.dts is not None and packet.pts is not None and packet.pts * stream.time_base >= from_s:
                packet.pts, packet.dts, packet.stream = packet.pts + shift, packet.dts + shift, copy
                out.mux(packet)
