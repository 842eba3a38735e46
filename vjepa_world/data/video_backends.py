"""The decoders behind `video.py` and the choice between them: torchcodec, decord, and our own over PyAV.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data import disposable
from vjepa_world.data.av_decoder import AvDecoder
from vjepa_world.data.decoder import DecodeError, Decoder, displayed, first_line
from vjepa_world.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


class MemoryDecoder:
    """All frames of a video in memory: a clip from it costs a copy, no decoding."""

    def __init__(self, decoder: Decoder) -> None:
        self.num_frames, self.begin_s, self.end_s = decoder.num_frames, decoder.begin_s, decoder.end_s
        self._frames, self._starts_s = decoder.everything()

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(displayed(self._starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        return self._frames[list(indices)]

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self._frames, self._starts_s

    def close(self) -> None:
        """See `Decoder`."""
        self._frames, self._starts_s = self._frames[:0], self._starts_s[:0]


class TorchcodecDecoder:
    """torchcodec's `VideoDecoder` with exact seeks; it applies the rotation flag itself."""

    def __init__(self, path: str, num_threads: int, device: str = "cpu") -> None:
        from torchcodec.decoders import VideoDecoder

        try:
            self._decoder = VideoDecoder(
                path, seek_mode="exact", num_ffmpeg_threads=num_threads, device=device
            )
        except (RuntimeError, ValueError, AssertionError) as error:
            raise DecodeError(first_line(error)) from error
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
            raise DecodeError(first_line(error)) from error

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        try:
            return self._decoder.get_frames_at(list(indices)).data
        except (RuntimeError, IndexError) as error:
            raise DecodeError(first_line(error)) from error

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        try:
            batch = self._decoder.get_frames_in_range(0, self.num_frames)
        except (RuntimeError, IndexError) as error:
            raise DecodeError(first_line(error)) from error
        return batch.data, batch.pts_seconds.numpy()

    def close(self) -> None:
        """See `Decoder`; the decoder closes the file when it is freed."""
        del self._decoder


class DecordDecoder:
    """decord's `VideoReader`, with its table of presentation times searched here.

    decord cannot copy out frames of some sizes (96 pixels wide, for one) nor those turned by 180 degrees: its
    buffers do not fit. Such files are decoded by PyAV.
    """

    def __init__(self, path: str, num_threads: int) -> None:
        import decord

        self._error: type[Exception] = decord.DECORDError
        self._substitute: AvDecoder | None = None
        self._place = (path, num_threads)
        try:
            self._reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=num_threads)
            spans = self._reader.get_frame_timestamp(range(len(self._reader)))
        except (decord.DECORDError, RuntimeError, AssertionError) as error:
            raise DecodeError(first_line(error)) from error
        self._starts_s: np.ndarray = spans[:, 0].astype(np.float64)
        self.num_frames = len(spans)
        self.begin_s = float(spans[0, 0])
        self.end_s = float(spans[-1, 1])

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(displayed(self._starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        if self._substitute is not None:
            return self._substitute.at_indices(indices)
        try:
            frames = self._reader.get_batch(list(indices)).asnumpy()
        except (self._error, RuntimeError, IndexError) as error:
            if "DECORDArrayCopyFromTo" in str(error):
                self._substitute = AvDecoder(*self._place)
                return self._substitute.at_indices(indices)
            raise DecodeError(first_line(error)) from error
        return torch.from_numpy(frames).permute(0, 3, 1, 2)

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._starts_s

    def close(self) -> None:
        """See `Decoder`; the reader closes the file when it is freed."""
        del self._reader
        if self._substitute is not None:
            self._substitute.close()


@functools.cache
def find_backend() -> str:
    """Return 'torchcodec' or 'decord', found once a process; the fallback is logged in one line.

    Raises:
        DataError: neither can be loaded.
    """
    try:
        import torchcodec.decoders  # noqa: F401
    except (ImportError, RuntimeError, OSError) as error:
        reason = first_line(error)
    else:
        return "torchcodec"
    try:
        import decord
    except (ImportError, OSError) as error:
        raise DataError(
            f"No video decoder: torchcodec did not load ({reason}) and decord did not load "
            f"({first_line(error)}). Install one: `pip install decord2`, or torchcodec with FFmpeg 4 to 8."
        ) from error
    # decord prints FFmpeg's complaints past Python; what matters of them comes back as errors.
    decord.logging.set_level(decord.logging.QUIET)
    logger.warning("Videos are read with PyAV and decord, since torchcodec did not load: %s", reason)
    return "decord"


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


def open_decoder(
    path: str, num_threads: int, *, codec: str, reordered: bool, trimmed: bool, device: str = "cpu"
) -> Decoder:
    """Open `path` with the backend that reads this file exactly and, of those, fastest.

    torchcodec where it loads. Else our own over PyAV, which leaves out frames that are not needed, for the codecs
    that tell which those are and for what decord does not read exactly; decord for the rest.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        codec: FFmpeg's name of the codec.
        reordered: whether frames may be stored in another order than they are displayed in.
        trimmed: whether the file has frames that are not to be displayed.
        device: where torchcodec decodes; the others decode on the CPU.

    Raises:
        DecodeError: the file cannot be decoded.
    """
    if trimmed:  # torchcodec and decord count the frames that are cut away
        return AvDecoder(path, num_threads)
    if find_backend() == "torchcodec":
        return TorchcodecDecoder(path, num_threads, device)
    # After a seek decord counts the frames that come out, so it is off by those that are stored behind the keyframe,
    # displayed before it, and not decodable from there.
    if reordered or codec in disposable.CODECS:
        return AvDecoder(path, num_threads)
    return DecordDecoder(path, num_threads)
