"""Decoders of other libraries, torchcodec's and decord's, for files that they read exactly.

Both count frames by our index of the stored packets. If one of them cannot decode a frame, our own decoder on PyAV
reads the file from then on.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from av.video.reformatter import ColorRange
from torch import Tensor

from vjepa_world.data.video.av_decoder import AvDecoder
from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import DecodeError, Decoder, first_line

_CONTAINERS = frozenset(("mp4", "matroska"))
# Not AV1: the two libraries' copies of its decoder crash in one process.
_CODECS = frozenset(("h264", "hevc", "vp8", "vp9", "mpeg4"))
# decord converts pixels of more than 8 bits, and frames of odd size, to other colours than our own decoder.
_DECORD_PIXELS = frozenset(("yuv420p", "yuv422p", "yuv444p", "yuvj420p", "yuvj422p", "yuvj444p"))


def torchcodec_is_exact(source: AvSource) -> bool:
    """Return whether torchcodec gives all frames of this file exactly."""
    # It takes the range of levels from the pixel format: 0 to 255 it recognises in "yuvj" formats only.
    is_full_range = source.context.color_range == ColorRange.JPEG
    is_misread = is_full_range and (source.context.pix_fmt or "").startswith("yuv4")
    return _is_plain(source) and not is_misread


def decord_is_exact(source: AvSource) -> bool:
    """Return whether decord gives all frames of this file exactly."""
    context = source.context
    has_even_size = context.width % 2 == 0 and context.height % 2 == 0
    # After a seek decord counts the frames that come out: it is off by those that are missing there.
    is_seekable = not source.index.has_open_groups
    return _is_plain(source) and context.pix_fmt in _DECORD_PIXELS and has_even_size and is_seekable


def _is_plain(source: AvSource) -> bool:
    """Return whether container and codec are known, all frames have times and keyframes are marked rightly."""
    has_known_container = not _CONTAINERS.isdisjoint(source.container.format.name.split(","))
    return has_known_container and source.context.codec.canonical_name in _CODECS and source.index.is_plain


class LibraryDecoder(Decoder):
    """A library's decoder for a stream whose frame index is known; once it fails, PyAV reads the file.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        source: The same file, open and scanned; it is closed once the library has opened the file.

    Raises:
        DecodeError: The library does not open the file, or counts other frames.
    """

    _decoder: Any

    def __init__(self, path: str, num_threads: int, source: AvSource) -> None:
        self.starts_s, self.end_s = source.index.starts_s, source.index.end_s
        self._substitute: AvDecoder | None = None
        self._reopen = functools.partial(AvDecoder, path, num_threads)

    @abstractmethod
    def _decode(self, indices: list[int]) -> Tensor | None:
        """Return the frames at these indices, uint8 `[T, C, H, W]`; None if the library cannot decode them."""

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        if self._substitute is None:
            frames = self._decode(list(indices))
            if frames is not None:
                return frames
            self._substitute = self._reopen()  # PyAV's error is reported
        return self._substitute.at_indices(indices)

    def close(self) -> None:
        """See `Decoder`; the library closes the file when its decoder is freed."""
        del self._decoder
        if self._substitute is not None:
            self._substitute.close()


class TorchcodecDecoder(LibraryDecoder):
    """torchcodec's `VideoDecoder` with exact seeks; it rotates frames itself.

    torchcodec reports when each returned frame is displayed. A frame displayed at another time than asked for counts as
    a failure.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        source: The same file, open and scanned; it is closed here.
        device: Where frames are decoded and left.
    """

    def __init__(self, path: str, num_threads: int, source: AvSource, device: str = "cpu") -> None:
        from torchcodec.decoders import VideoDecoder

        super().__init__(path, num_threads, source)
        try:
            self._decoder = VideoDecoder(
                path,
                stream_index=source.stream.index,
                seek_mode="exact",
                num_ffmpeg_threads=num_threads,
                device=device,
            )
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise DecodeError(first_line(error)) from error
        if len(self._decoder) != self.num_frames:
            raise DecodeError(f"it has {self.num_frames} frames, and torchcodec counts {len(self._decoder)}")
        source.close()

    def _decode(self, indices: list[int]) -> Tensor | None:
        try:
            batch = self._decoder.get_frames_at(indices)
        except (RuntimeError, IndexError):
            return None
        has_times = np.allclose(batch.pts_seconds.numpy(), self.starts_s[indices], rtol=0, atol=1e-6)
        return batch.data if has_times else None


class DecordDecoder(LibraryDecoder):
    """decord's `VideoReader`.

    decord cannot copy frames of some sizes (for example 96 pixels wide), nor those rotated by 180 degrees: its buffers
    do not fit. It also fails at some seeks in HEVC.
    """

    def __init__(self, path: str, num_threads: int, source: AvSource) -> None:
        import decord

        super().__init__(path, num_threads, source)
        # decord prints FFmpeg's messages to stderr; those that matter are raised as errors.
        decord.logging.set_level(decord.logging.QUIET)
        self._errors = (decord.DECORDError, RuntimeError, IndexError)
        try:
            self._decoder = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=num_threads)
            spans_s = self._decoder.get_frame_timestamp(range(len(self._decoder)))
        except (*self._errors, AssertionError, UnicodeError) as error:
            raise DecodeError(first_line(error)) from error
        if len(spans_s) != self.num_frames or not np.allclose(spans_s[:, 0], self.starts_s, atol=1e-3):
            raise DecodeError(f"decord counts {len(spans_s)} frames at other times than the file's packets")
        source.close()

    def _decode(self, indices: list[int]) -> Tensor | None:
        try:
            frames = self._decoder.get_batch(indices).asnumpy()
        except self._errors:
            return None
        return torch.from_numpy(frames).permute(0, 3, 1, 2)
