"""Reads video files by time or frame index, exactly, with torchcodec, decord or PyAV.

Shapes: T frames, C = 3 channels (RGB), H W pixels. Times are seconds from the first frame.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import av
import numpy as np
from torch import Tensor

from vjepa_world.data.corpus.locations import Location, TarMember, ffmpeg_url, open_location, size_of
from vjepa_world.data.video.backends import MemoryDecoder, open_decoder
from vjepa_world.data.video.container_size import declared_size
from vjepa_world.data.video.decoder import AV_ERRORS, PYAV, DecodeError, Decoder, first_line
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.system.cpu import available_cores
from vjepa_world.system.memory import refuse_beyond_memory

# Containers round presentation times (Matroska to 1 ms), and so do float32 timestamps: a time this little before a
# frame still selects that frame. It is always less than half a frame.
TIME_TOLERANCE_S = 1e-3

# Header and frames may differ by this much, or by a tenth (longer audio, a last frame of unknown length); a larger
# difference means a damaged file.
_DURATION_SLACK_S = 0.5

# Containers made for broadcasting, without an index of frames.
_NO_INDEX = ("mpegts", "mpeg")

# Text files that name other files or addresses.
_PLAYLISTS = ("concat", "hls", "dash", "sdp", "imf")

# Protocols that a file may make FFmpeg open: never the network.
_OPTIONS = {"protocol_whitelist": "file,subfile"}

#: Beginning of the error message if the system refuses access; the file itself may be fine.
CANNOT_OPEN = "Cannot open"


class VideoError(DataError):
    """A video or image file cannot be read."""


@dataclass(frozen=True, kw_only=True)
class VideoInfo:
    """The content of a video file's header.

    `num_frames` is an estimate if the container stores no count; `width` and `height` are those before a rotation flag
    is applied.
    """

    path: Location
    duration_s: float
    fps: float
    num_frames: int
    codec: str
    width: int
    height: int


def probe_video(path: str | os.PathLike[str] | TarMember) -> VideoInfo:
    """Read a file's header, without decoding a frame (about a millisecond).

    Raises:
        VideoError: The file is missing, empty, no video, without a video stream, or shorter than its header says.
    """
    location = path if isinstance(path, TarMember) else Path(path)
    check_file(location)
    _check_supported(location)
    try:
        with av.open(ffmpeg_url(location), options=_OPTIONS) as container:
            if container.format.name in _PLAYLISTS:
                raise unreadable(
                    location, f"it is a playlist ({container.format.name}), which names other files"
                )
            _check_whole(location, container)
            stream = container.streams.best("video")
            if not isinstance(stream, av.VideoStream):
                kinds = ", ".join(sorted({s.type for s in container.streams}))
                raise unreadable(location, f"it has no video stream (its streams: {kinds or 'none'})")
            if container.format.name in _NO_INDEX:
                raise VideoError(
                    f"Cannot read {location} exactly: its container ({container.format.name}) has no index to seek by. "
                    f"Put it into another: ffmpeg -i {location.name} -c copy {Path(location.name).stem}.mp4"
                )
            return _info(location, container, stream)
    except (*AV_ERRORS, OSError) as error:
        reason = f"its header cannot be read ({first_line(error)}): it is truncated, or no video at all"
        raise unreadable(location, reason) from error


def pixel_format(path: str | os.PathLike[str]) -> str | None:
    """Return FFmpeg's name of the pixel format, such as yuv420p; None if the header cannot be read."""
    try:
        with av.open(ffmpeg_url(Path(path)), options=_OPTIONS) as container:
            stream = container.streams.best("video")
            return stream.codec_context.pix_fmt if isinstance(stream, av.VideoStream) else None
    except AV_ERRORS:
        return None


def check_file(location: Location) -> None:
    """Refuse what is not a readable file with content.

    Raises:
        VideoError: It is missing, not readable, a folder, empty, or truncated.
    """
    file = location.path if isinstance(location, TarMember) else location
    try:
        if not file.exists():
            raise VideoError(f"No such video file: {file}. Check the path, or the list that names it.")
        if not file.is_file():
            raise VideoError(f"{file} is not a file. Expected one video file.")
        open(file, "rb").close()  # FFmpeg would call it truncated
    except OSError as error:  # no permission, a loop of links, a failing disk
        raise VideoError(
            f"{CANNOT_OPEN} {location}: {error.strerror}. Allow it to be read, or take it out of the data."
        ) from error
    if size_of(location) == 0:
        raise unreadable(location, "it has zero bytes", "a whole file")
    if isinstance(location, TarMember) and location.offset + location.size > file.stat().st_size:
        raise unreadable(location, f"{file} is truncated: it ends before this member does")


def _check_supported(location: Location) -> None:
    if PYAV < 17:
        with open_location(location) as file:
            if file.read(3) == b"FLV":
                raise unreadable(
                    location, f"it is FLV, which PyAV {av.__version__} cannot open; PyAV 17 and later can"
                )


def _check_whole(location: Location, container: av.container.InputContainer) -> None:
    """Refuse a file that ends before its index does: decoders would return fewer, grey or repeated frames."""
    if PYAV < 17:
        ends = []
        _check_packets(location, container)
    else:
        ends = [entry.pos + entry.size for stream in container.streams for entry in stream.index_entries]
    with open_location(location) as file:
        needed, size = max([declared_size(file), *ends]), size_of(location)
    if needed > size:
        raise unreadable(
            location, f"it is truncated: its header declares {needed} bytes, the file has {size}"
        )


def _check_packets(location: Location, container: av.container.InputContainer) -> None:
    """Refuse an MP4 file with fewer packets than its header declares, which takes reading it all."""
    if "mp4" not in container.format.name:
        return
    with av.open(ffmpeg_url(location), options={**_OPTIONS, "ignore_editlist": "1"}) as whole:
        for stream in whole.streams.video:
            whole.seek(0)
            count = sum(1 for packet in whole.demux(stream) if packet.size and not packet.is_corrupt)
            if count < stream.frames:
                raise unreadable(
                    location,
                    f"it is truncated: its header declares {stream.frames} frames, the file has {count}",
                )


def _info(path: Location, container: av.container.InputContainer, stream: av.VideoStream) -> VideoInfo:
    context = stream.codec_context
    rate = stream.average_rate or stream.guessed_rate
    duration_s = _duration_s(container, stream)
    if context is None or not context.width or rate is None or duration_s <= 0:
        raise unreadable(path, "its header has no codec, size, frame rate or duration")
    return VideoInfo(
        path=path,
        duration_s=duration_s,
        fps=float(rate),
        num_frames=stream.frames or max(1, round(duration_s * float(rate))),
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
    )


def _duration_s(container: av.container.InputContainer, stream: av.VideoStream) -> float:
    """Return how long all frames together are displayed [s]; 0 without frames."""
    unit_s = float(stream.time_base or 0)
    if stream.duration is not None:
        return stream.duration * unit_s
    start_s = (stream.start_time or 0) * unit_s
    if "DURATION" in stream.metadata:  # Matroska: end of the last frame, HH:MM:SS.nnnnnnnnn
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds) - start_s
    if container.duration:
        return container.duration / av.time_base
    # Live recordings have no length in their header: read all packets.
    ends = [
        packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None
    ]
    return max(ends, default=0) * unit_s - start_s


def unreadable(
    location: Location | str,
    reason: str,
    expected: str = "a whole video file with frames that FFmpeg decodes",
) -> VideoError:
    """Return the error for a file that cannot be read."""
    return VideoError(
        f"Cannot read {location}: {reason}. Expected {expected}; replace it or take it out of the data."
    )


class VideoFile:
    """An open video, from `open_video`; closed by `close` or a `with` block."""

    def __init__(self, info: VideoInfo, decoder: Decoder, device: str = "cpu") -> None:
        self.path = info.path
        self.device = device
        self.codec = info.codec
        self.width = info.width
        self.height = info.height
        self.num_frames = decoder.num_frames
        self.duration_s = decoder.end_s - decoder.begin_s
        self.fps = self.num_frames / self.duration_s
        self._decoder: Decoder | None = decoder

    def frames_at(self, timestamps_s: Sequence[float] | np.ndarray) -> Tensor:
        """Return the frames displayed at these times.

        The frame displayed at t is the last whose presentation time is at most t (within 1 ms), also at variable frame
        rates.

        Args:
            timestamps_s: Times `[T]` from the first frame [s], in any order.

        Returns:
            Frames uint8 `[T, C, H, W]`.

        Raises:
            VideoError: A time is outside [0, duration_s], or frames cannot be decoded.
        """
        times_s = np.asarray(timestamps_s, dtype=np.float64)
        tolerance_s = min(TIME_TOLERANCE_S, 0.25 / self.fps)
        bad = ~((times_s >= -tolerance_s) & (times_s <= self.duration_s + tolerance_s))
        if bad.any():
            raise VideoError(
                f"{self.path} has no frame at {times_s[bad][0]:.3f} s: its frames are displayed from 0 to "
                f"{self.duration_s:.3f} s. Ask for times inside."
            )
        decoder = self._opened()
        try:
            return decoder.at_times(times_s + (decoder.begin_s + tolerance_s)).to(self.device)
        except DecodeError as error:
            raise unreadable(self.path, f"decoding failed ({error})") from error

    @property
    def begin_s(self) -> float:
        """Time of the first frame on the file's own clock [s]."""
        return self._opened().begin_s

    @property
    def starts_s(self) -> np.ndarray:
        """Time at which each frame is first displayed, from the first frame [s], float64 `[num_frames]`."""
        decoder = self._opened()
        return decoder.starts_s - decoder.begin_s

    def frames_by_index(self, indices: Sequence[int]) -> Tensor:
        """Return the frames at these indices `[T]` in presentation order, uint8 `[T, C, H, W]`.

        Raises:
            VideoError: An index is outside [0, num_frames), or frames cannot be decoded.
        """
        bad = [index for index in indices if not 0 <= index < self.num_frames]
        if bad:
            raise VideoError(f"{self.path} has no frame {bad[0]}: it has {self.num_frames}, counted from 0.")
        try:
            return self._opened().at_indices(indices).to(self.device)
        except DecodeError as error:
            raise unreadable(self.path, f"decoding failed ({error})") from error

    @property
    def num_bytes(self) -> int:
        """Size of all decoded frames [bytes]."""
        return self.num_frames * self.height * self.width * 3

    @property
    def is_preloaded(self) -> bool:
        """Whether all its frames are in memory."""
        return isinstance(self._decoder, MemoryDecoder)

    def preload(self) -> None:
        """Decode all frames into memory; later reads copy from there.

        Raises:
            VideoError: Frames cannot be decoded.
        """
        file = self._opened()
        try:
            self._decoder = MemoryDecoder(file)
        except DecodeError as error:
            raise unreadable(self.path, f"decoding failed ({error})") from error
        file.close()

    def close(self) -> None:
        """Free the decoder; reading afterwards is an error, closing again is not."""
        if self._decoder is not None:
            self._decoder.close()
        self._decoder = None

    def _opened(self) -> Decoder:
        if self._decoder is None:
            raise VideoError(f"{self.path} was closed. Open it again with open_video.")
        return self._decoder

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_video(
    path: str | os.PathLike[str] | TarMember, *, num_threads: int = 1, device: str = "cpu"
) -> VideoFile:
    """Open a video file of any container and codec that FFmpeg knows; its best video stream is read.

    Args:
        path: The file, or the member of a tar file.
        num_threads: Decoding threads; 1 suits many loader processes.
        device: Where frames are decoded and left: cpu, or cuda (cuda:N), see `check_decode_device`.

    Raises:
        VideoError: The file is missing, empty, truncated, no video, or not decodable.
    """
    info = probe_video(path)
    try:
        decoder = open_decoder(ffmpeg_url(info.path), num_threads, device=device)
    except DecodeError as error:
        raise unreadable(info.path, f"no frame can be decoded ({error})") from error
    found_s = decoder.end_s - decoder.begin_s
    # "not" rather than "<": a damaged file may give NaN.
    slack_s = max(_DURATION_SLACK_S, 0.1 * info.duration_s, 2 * found_s / decoder.num_frames)
    if not found_s > 0 or not abs(found_s - info.duration_s) <= slack_s:
        reason = f"its header promises {info.duration_s:.2f} s of video, its frames span {found_s:.2f} s"
        raise unreadable(info.path, reason)
    return VideoFile(info, decoder, device)


def load_video(
    path: str | os.PathLike[str] | TarMember,
    *,
    fps: float | None = None,
    frames: int | None = None,
    start_s: float = 0.0,
) -> Tensor:
    """Return frames of a video file, uint8 `[T, 3, H, W]` RGB; times are exact, also at variable frame rates.

    Args:
        path: The file.
        fps: Frames per second to take; None takes every frame, or with `frames` as many as asked for, evenly spaced.
        frames: T; None takes all up to the video's end.
        start_s: Time of the first frame from the video's beginning [s].

    Raises:
        VideoError: The file cannot be read, or ends before the last frame that was asked for.
        ConfigError: `fps` or `frames` is not positive, or the frames do not fit into memory.
    """
    if (fps is not None and not 0 < fps < float("inf")) or (frames is not None and frames < 1):
        raise ConfigError(f"fps is {fps} and frames is {frames}; give positive numbers, or None.")
    with open_video(path, num_threads=available_cores()) as video:
        if not 0 <= start_s < video.duration_s:
            raise VideoError(
                f"{video.path} has no frame at {start_s:g} s: it lasts {video.duration_s:.3f} s. Ask for a time inside."
            )
        left_s = video.duration_s - start_s
        if fps is not None:
            count = max(math.ceil((left_s - TIME_TOLERANCE_S) * fps), 1) if frames is None else frames
            times_s = start_s + np.arange(count) / fps
        elif frames is not None:
            times_s = start_s + (np.arange(frames) + 0.5) / frames * left_s
        else:
            times_s = video.starts_s[video.starts_s >= start_s - TIME_TOLERANCE_S]
        refuse_beyond_memory(
            len(times_s) * video.height * video.width * 3,
            f"{len(times_s)} frames of {video.path}",
            "ask for fewer with fps= and frames=",
        )
        return video.frames_at(times_s).contiguous()
