"""The two decoders behind `video.py`, torchcodec and decord, brought to one small interface.

Both hand out frames by time or by index, exactly: by the presentation times that stand in the file, not by
a frame rate. Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa_world.errors import DataError

logger = logging.getLogger(__name__)

_SOURCE_PLACE = re.compile(r"(\[[\d:]+\] )?\S+\.(cc|cpp|h):\d+: ")  # "[01:02:03] /src/decoder.cc:292: "


class DecodeError(Exception):
    """A backend could not decode; `video.py` turns it into an error that names the file."""


class Decoder(Protocol):
    """One open video stream. Times are in seconds on the file's own clock."""

    num_frames: int
    begin_s: float  # presentation time of the first frame
    end_s: float  # when the last frame's display ends

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """Return uint8 [T,C,H,W], for each time the last frame that starts at or before it."""
        ...

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """Return uint8 [T,C,H,W], the frames at these places in presentation order."""
        ...


class TorchcodecDecoder:
    """torchcodec's `VideoDecoder` with exact seeks; it applies the rotation flag itself."""

    def __init__(self, path: Path, num_threads: int) -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._decoder = VideoDecoder(str(path), seek_mode="exact", num_ffmpeg_threads=num_threads)
        except (RuntimeError, ValueError) as error:
            raise DecodeError(_first_line(error)) from error
        begin_s, end_s = (
            self._decoder.metadata.begin_stream_seconds,
            self._decoder.metadata.end_stream_seconds,
        )
        if begin_s is None or end_s is None:
            raise DecodeError("no frame has a presentation time")
        self.num_frames = len(self._decoder)
        self.begin_s, self.end_s = float(begin_s), float(end_s)

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        # The end itself is outside: the last frame is asked for just before it.
        inside = np.clip(times_s, self.begin_s, np.nextafter(self.end_s, self.begin_s) - 1e-6)
        try:
            return self._decoder.get_frames_played_at(inside.tolist()).data
        except (RuntimeError, IndexError) as error:
            raise DecodeError(_first_line(error)) from error

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        try:
            return self._decoder.get_frames_at(list(indices)).data
        except (RuntimeError, IndexError) as error:
            raise DecodeError(_first_line(error)) from error


class DecordDecoder:
    """decord's `VideoReader`, with its table of presentation times searched here."""

    def __init__(self, path: Path, num_threads: int) -> None:
        import decord

        self._error: type[Exception] = decord.DECORDError
        try:
            self._reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=num_threads)
            spans = self._reader.get_frame_timestamp(range(len(self._reader)))
        except (decord.DECORDError, RuntimeError, AssertionError) as error:
            raise DecodeError(_first_line(error)) from error
        self._starts_s: np.ndarray = spans[:, 0].astype(np.float64)
        self.num_frames = len(spans)
        self.begin_s = float(spans[0, 0])
        self.end_s = float(spans[-1, 1])

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        indices = np.searchsorted(self._starts_s, times_s, side="right") - 1
        return self.at_indices(np.clip(indices, 0, self.num_frames - 1).tolist())

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        try:
            frames = self._reader.get_batch(list(indices)).asnumpy()
        except (self._error, RuntimeError, IndexError) as error:
            raise DecodeError(_first_line(error)) from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)


@functools.cache
def find_backend() -> str:
    """Return 'torchcodec' or 'decord', found once a process; the fallback is logged in one line.

    Raises:
        DataError: neither can be loaded.
    """
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = _first_line(error)
    else:
        return "torchcodec"
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DataError(
            f"No video decoder: torchcodec did not load ({reason}) and decord did not load "
            f"({_first_line(error)}). Install one: `pip install decord2`, or torchcodec with FFmpeg 4 to 8."
        ) from error
    # decord prints FFmpeg's complaints past Python; what matters of them comes back as errors.
    decord.logging.set_level(decord.logging.QUIET)
    logger.warning("Videos are read with decord, since torchcodec did not load: %s", reason)
    return "decord"


def open_decoder(path: Path, num_threads: int) -> Decoder:
    """Open `path` with the backend that this machine has.

    Raises:
        DecodeError: the file cannot be decoded.
    """
    kind = TorchcodecDecoder if find_backend() == "torchcodec" else DecordDecoder
    return kind(path, num_threads)


def _first_line(error: BaseException) -> str:
    """Return what went wrong, without the backends' source places, stack traces and lists of likely causes."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = _SOURCE_PLACE.sub("", lines[0]).removeprefix("Check failed: ").partition(". Likely causes")[0]
    return text.rstrip(":. ") if lines else type(error).__name__
