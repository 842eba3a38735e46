"""The decoders behind `video.py`, torchcodec and decord, brought to one small interface.

Both hand out frames by time or by index, exactly: by the presentation times that stand in the file, not by
a frame rate. Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from typing import Protocol

import av
import numpy as np
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

# "[01:02:03] /src/decoder.cc:292: " of decord, "function, /src/Decoder.cpp:1436, " of torchcodec
_SOURCE_PLACE = re.compile(r"(\[[\d:]+\] |\w+, )?\S+\.(cc|cpp|h):\d+[:,] ")


# What PyAV raises on damaged files: FFmpeg's errors, and those of reading senseless numbers and texts in a header.
AV_ERRORS = (av.error.FFmpegError, ValueError, OverflowError, ZeroDivisionError, MemoryError)


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

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """Return all frames, uint8 [T,C,H,W], and when each starts [s]."""
        ...


class MemoryDecoder:
    """All frames of a video in memory: a clip from it costs a copy, no decoding."""

    def __init__(self, decoder: Decoder) -> None:
        self.num_frames, self.begin_s, self.end_s = decoder.num_frames, decoder.begin_s, decoder.end_s
        self._frames, self._starts_s = decoder.everything()

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(_displayed(self._starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        return self._frames[list(indices)]

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self._frames, self._starts_s


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
        return self.at_indices(_displayed(self._starts_s, times_s))

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


class AvDecoder:
    """PyAV, frame by frame from the keyframe before: for files that the others do not read exactly."""

    def __init__(self, path: str, num_threads: int) -> None:
        try:
            self._container = av.open(path)
            self._stream = _best_stream(self._container)
            packets = [
                packet
                for packet in self._container.demux(self._stream)
                if packet.pts is not None and not packet.is_discard
            ]
        except AV_ERRORS as error:
            raise DecodeError(first_line(error)) from error
        if not packets:
            raise DecodeError("no frame has a presentation time")
        self._stream.codec_context.thread_count = num_threads
        packets.sort(key=lambda packet: packet.pts or 0)
        self._pts = np.array([packet.pts for packet in packets])
        self._keys = np.flatnonzero([packet.is_keyframe for packet in packets])
        unit_s = float(self._stream.time_base or 0)
        self._starts_s = self._pts * unit_s
        self.num_frames = len(packets)
        self.begin_s = float(self._starts_s[0])
        self.end_s = float(self._starts_s[-1]) + (packets[-1].duration or 0) * unit_s

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(_displayed(self._starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        wanted = sorted(set(indices))
        found: dict[int, np.ndarray] = {}
        while wanted:
            # All that is wanted up to the next keyframe after the first needs one seek only.
            later = self._keys[self._keys > wanted[0]]
            stop = int(later[0]) if len(later) else self.num_frames
            group = [index for index in wanted if index < stop]
            wanted = wanted[len(group) :]
            found |= self._decode_group(group)
        return torch.from_numpy(np.stack([found[index] for index in indices])).permute(0, 3, 1, 2)

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._starts_s

    def _decode_group(self, group: list[int]) -> dict[int, np.ndarray]:
        """Return frames [H,W,C] that lie between two keyframes, by index.

        Some containers seek to the keyframe behind (they go by decoding time); then an earlier one is tried.
        """
        earlier = self._keys[self._keys <= group[0]][::-1][:3]
        for start in [*earlier.tolist(), 0]:
            found = self._decode_from(start, group)
            if len(found) == len(group):
                return found
        raise DecodeError(f"frame {min(set(group) - set(found))} did not come out of the decoder")

    def _decode_from(self, start: int, group: list[int]) -> dict[int, np.ndarray]:
        found: dict[int, np.ndarray] = {}
        try:
            self._container.seek(int(self._pts[start]), stream=self._stream)
            for frame in self._container.decode(self._stream):
                index = int(np.searchsorted(self._pts, frame.pts if frame.pts is not None else -1))
                if index in group:
                    # A rotation flag counts degrees against the clock, as rot90 does.
                    found[index] = np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))
                if len(found) == len(group):
                    break
        except AV_ERRORS as error:
            raise DecodeError(first_line(error)) from error
        return found


def _displayed(starts_s: np.ndarray, times_s: np.ndarray) -> list[int]:
    """Return for each time the index of the last frame that starts at or before it."""
    indices = np.searchsorted(starts_s, times_s, side="right") - 1
    return np.clip(indices, 0, len(starts_s) - 1).tolist()


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
    logger.warning("Videos are read with decord, since torchcodec did not load: %s", reason)
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
    """Open `path` with the backend that this machine has and that reads this file exactly.

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
    if trimmed:  # both count the frames that are cut away
        return AvDecoder(path, num_threads)
    if find_backend() == "torchcodec":
        return TorchcodecDecoder(path, num_threads, device)
    # After a seek decord counts the frames that come out, so it is off by those that are stored behind the keyframe,
    # displayed before it, and not decodable from there. It also fails on some HEVC streams with B-frames.
    if reordered and (codec != "h264" or has_leading_frames(path)):
        return AvDecoder(path, num_threads)
    return DecordDecoder(path, num_threads)


def has_leading_frames(path: str) -> bool:
    """Whether a keyframe but the first is followed, as stored, by a frame displayed before it ("open GOP")."""
    key_pts: int | None = None
    try:
        with av.open(path) as container:
            for packet in container.demux(_best_stream(container)):
                if packet.pts is None:
                    continue
                if packet.is_keyframe:
                    key_pts = packet.pts
                elif key_pts is not None and packet.pts < key_pts:
                    return True
    except AV_ERRORS as error:
        raise DecodeError(first_line(error)) from error
    return False


def _best_stream(container: av.container.InputContainer) -> av.VideoStream:
    best = container.streams.best("video")
    for stream in container.streams.video:
        if best is not None and stream.index == best.index:
            return stream
    raise DecodeError("it has no video stream")


def first_line(error: BaseException) -> str:
    """Return what went wrong, without the backends' source places, stack traces and lists of likely causes."""
    # What the system says of it, without the file's name.
    said = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else None
    lines = [line.strip() for line in (said or str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = _SOURCE_PLACE.sub("", lines[0]).removeprefix("Check failed: ").partition(". Likely causes")[0]
    return text.rstrip(":. ")
