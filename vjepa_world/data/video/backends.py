"""The decoders behind `video.py` and the choice between them: torchcodec, decord, and our own over PyAV.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from av.video.reformatter import ColorRange
from torch import Tensor

from vjepa_world.data.video.av_decoder import KEPT_BYTES, AvDecoder
from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import DecodeError, Decoder, first_line, frames_displayed_at
from vjepa_world.data.video.packet_roles import SKIPPING_CODECS
from vjepa_world.errors import ConfigError, DataError, nearest

logger = logging.getLogger(__name__)

#: The environment variable that selects the back end of a process and its children, and what it may say.
BACKEND_VARIABLE = "VJEPA_WORLD_VIDEO_BACKEND"
BACKEND_CHOICES = ("auto", "torchcodec", "pyav")

# What others are trusted with: the containers, and the codecs of each. AV1 is not among them, since torchcodec's and
# decord's copies of its decoder crash in one process.
_EXACT_CONTAINERS = frozenset(("mp4", "matroska"))
TORCHCODEC_CODECS = frozenset(("h264", "hevc", "vp8", "vp9", "mpeg4"))
DECORD_CODECS = frozenset(("vp8", "vp9", "mpeg4"))


class MemoryDecoder:
    """All frames of a video in memory: a clip from it costs a copy, no decoding."""

    def __init__(self, decoder: Decoder) -> None:
        self.num_frames, self.begin_s, self.end_s = decoder.num_frames, decoder.begin_s, decoder.end_s
        self._frames, self.starts_s = decoder.all_frames()

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(frames_displayed_at(self.starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        return self._frames[list(indices)]

    def all_frames(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self._frames, self.starts_s

    def close(self) -> None:
        """See `Decoder`."""
        self._frames, self.starts_s = self._frames[:0], self.starts_s[:0]


class TorchcodecDecoder:
    """torchcodec's `VideoDecoder` with exact seeks, for a stream whose frames are known; it turns frames itself.

    torchcodec says when each frame that it returns is displayed: where that is not what was asked for, or it cannot
    decode the frame, PyAV reads the file from then on.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        source: the same file, open and read through; closed here.
        device: where frames are decoded and left.

    Raises:
        DecodeError: torchcodec does not open it, or counts other frames.
    """

    def __init__(self, path: str, num_threads: int, source: AvSource, device: str = "cpu") -> None:
        from torchcodec.decoders import VideoDecoder

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
        self._index = source.index
        self.num_frames = len(self._index)
        self.begin_s, self.end_s = float(self._index.starts_s[0]), self._index.end_s
        self.starts_s = self._index.starts_s
        if len(self._decoder) != self.num_frames:
            raise DecodeError(f"it has {self.num_frames} frames, and torchcodec counts {len(self._decoder)}")
        self._substitute: AvDecoder | None = None
        self._reopen = functools.partial(AvDecoder, path, num_threads)
        source.close()

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(frames_displayed_at(self._index.starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        if self._substitute is None:
            try:
                batch = self._decoder.get_frames_at(list(indices))
            except (RuntimeError, IndexError):
                batch = None  # what PyAV says of it counts
            if batch is not None and self._are_those(batch.pts_seconds.numpy(), indices):
                return batch.data
            self._substitute = self._reopen()
        return self._substitute.at_indices(indices)

    def _are_those(self, times_s: np.ndarray, indices: Sequence[int]) -> bool:
        return bool(np.allclose(times_s, self._index.starts_s[list(indices)], rtol=0, atol=1e-6))

    def all_frames(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._index.starts_s

    def close(self) -> None:
        """See `Decoder`; the decoder closes the file when it is freed."""
        del self._decoder
        if self._substitute is not None:
            self._substitute.close()


class DecordDecoder:
    """decord's `VideoReader`, for a stream whose frames are known.

    decord cannot copy out frames of some sizes (96 pixels wide, for one) nor those turned by 180 degrees: its
    buffers do not fit. Such files are decoded by PyAV.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        source: the same file, open and read through; closed here.

    Raises:
        DecodeError: decord does not open it, or counts other frames or times.
    """

    def __init__(self, path: str, num_threads: int, source: AvSource) -> None:
        import decord

        # decord prints FFmpeg's complaints past Python; what matters of them comes back as errors.
        decord.logging.set_level(decord.logging.QUIET)
        self._error: type[Exception] = decord.DECORDError
        self._substitute: AvDecoder | None = None
        self._reopen = functools.partial(AvDecoder, path, num_threads)
        self._index = source.index
        self.num_frames = len(self._index)
        self.begin_s, self.end_s = float(self._index.starts_s[0]), self._index.end_s
        self.starts_s = self._index.starts_s
        try:
            self._reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=num_threads)
            spans = self._reader.get_frame_timestamp(range(len(self._reader)))
        except (decord.DECORDError, RuntimeError, AssertionError, UnicodeError) as error:
            raise DecodeError(first_line(error)) from error
        if len(spans) != self.num_frames or not np.allclose(spans[:, 0], self._index.starts_s, atol=1e-3):
            raise DecodeError(
                f"decord counts {len(spans)} frames at other times than the file's packets have"
            )
        source.close()

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(frames_displayed_at(self._index.starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        if self._substitute is not None:
            return self._substitute.at_indices(indices)
        try:
            frames = self._reader.get_batch(list(indices)).asnumpy()
        except (self._error, RuntimeError, IndexError) as error:
            if "DECORDArrayCopyFromTo" in str(error):
                self._substitute = self._reopen()
                return self._substitute.at_indices(indices)
            raise DecodeError(first_line(error)) from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def all_frames(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._index.starts_s

    def close(self) -> None:
        """See `Decoder`; the reader closes the file when it is freed."""
        del self._reader
        if self._substitute is not None:
            self._substitute.close()


def find_backend() -> str:
    """Return which back end reads videos in this process, 'torchcodec' or 'pyav'.

    It is what `VJEPA_WORLD_VIDEO_BACKEND` says: `auto` (so it is when nothing is said) takes torchcodec where it
    loads, but on the CPU not for those codecs which ours decodes faster (`SKIPPING_CODECS`). Found out once a process;
    that torchcodec does not load is then logged in one line.

    Raises:
        ConfigError: The variable says something else.
        DataError: The variable says `torchcodec`, and that does not load.
    """
    choice = _choice()
    return "pyav" if choice == "pyav" else _load_torchcodec(choice)


def _choice() -> str:
    choice = os.environ.get(BACKEND_VARIABLE, "").strip() or "auto"
    if choice not in BACKEND_CHOICES:
        raise ConfigError(
            f"The environment variable {BACKEND_VARIABLE} is '{choice}'; {nearest(choice, BACKEND_CHOICES)}"
        )
    return choice


@functools.cache
def _load_torchcodec(choice: str) -> str:
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = first_line(error)
    else:
        return "torchcodec"
    if choice == "torchcodec":
        raise DataError(
            f"{BACKEND_VARIABLE} is torchcodec, and that did not load: {reason}. Install FFmpeg 4 to 8 "
            "(apt-get install ffmpeg), or set it to auto or pyav."
        )
    logger.warning("Videos are read with PyAV and decord, since torchcodec did not load: %s", reason)
    return "pyav"


def check_decode_device(device: str) -> None:
    """Refuse a device that frames cannot be decoded on here.

    Raises:
        ConfigError: there is no such CUDA device, or torchcodec, which alone decodes on one, does not load.
    """
    if device == "cpu":
        return
    place = torch.device(device)
    count = torch.cuda.device_count()
    if not torch.cuda.is_available() or (place.index or 0) >= count:
        raise ConfigError(
            f"data.decode_device is {device}, and this machine has {count} CUDA devices that torch can use; give cpu."
        )
    if find_backend() != "torchcodec":
        raise ConfigError(
            f"data.decode_device is {device}, and torchcodec does not load here: only it decodes on a graphics card. "
            "Install it with FFmpeg's shared libraries, or give cpu."
        )


def open_decoder(path: str, num_threads: int, *, device: str = "cpu") -> Decoder:
    """Open `path` with the decoder that reads this file exactly and, of those of the back end, fastest.

    Our own over PyAV reads everything exactly, and leaves out frames that are not needed where the codec tells which
    those are. The others are trusted with what they were seen to read exactly: MP4 and Matroska whose frames all
    have times and whose keyframes are such. A CUDA device is torchcodec's; what it is not trusted with is decoded on
    the CPU.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        device: where torchcodec decodes; the others decode on the CPU.

    Raises:
        DecodeError: the file cannot be decoded.
    """
    backend, source = find_backend(), AvSource(path, kept_bytes=KEPT_BYTES)
    try:
        return _other_decoder(backend, path, num_threads, source, device) or AvDecoder(
            path, num_threads, source=source
        )
    except DecodeError:
        # What the other one does not read, or counts otherwise, ours does, or says why not.
        return AvDecoder(path, num_threads, source=source)


def _other_decoder(
    backend: str, path: str, num_threads: int, source: AvSource, device: str
) -> Decoder | None:
    """Return torchcodec's or decord's decoder, or None for what they are not trusted with."""
    if not source.index.is_plain or _EXACT_CONTAINERS.isdisjoint(source.container.format.name.split(",")):
        return None
    codec = source.context.codec.canonical_name
    leaves_out = codec in SKIPPING_CODECS and device == "cpu" and _choice() == "auto"
    # torchcodec takes the range of levels from the pixel format: of 0 to 255 it knows with "yuvj" only.
    pixels = source.context.pix_fmt or ""
    is_misread = source.context.color_range == ColorRange.JPEG and pixels.startswith("yuv4")
    if backend == "torchcodec" and codec in TORCHCODEC_CODECS and not leaves_out and not is_misread:
        return TorchcodecDecoder(path, num_threads, source, device)
    if backend != "torchcodec" and codec in DECORD_CODECS and not source.context.has_b_frames:
        return DecordDecoder(path, num_threads, source)
    return None
