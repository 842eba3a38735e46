"""Decodes single frames of a video with PyAV, and skips frames that are neither wanted nor referred to.

A frame in the middle needs those frames since the last keyframe that others refer to. The others, about half of what
x264 writes by default, are not given to the decoder. Shapes: T frames, H W pixels, C = 3 channels (RGB).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import AV_ERRORS, PYAV, DecodeError, Decoder, first_line

#: A video's stored packets stay in memory up to this many bytes; reading them again is a twentieth of the work.
KEPT_BYTES = 2 << 20

#: How many earlier keyframes are tried if a container does not seek to the requested one.
_KEYS_TRIED = 3

#: For PyAV's reformatter: before PyAV 17 it has one thread and no such argument.
_ONE_THREAD: dict[str, Any] = {"threads": 1} if PYAV >= 17 else {}


class AvDecoder(Decoder):
    """Decodes with PyAV, from the keyframe before the first wanted frame, or on from the end of the last call.

    Each packet is numbered (its `pts` is set to its number), and a decoded frame carries its packet's number, so that
    frames are identified even if packets have no times. After a seek the packets are compared with those of the first
    scan; if the container seeks wrongly, all is decoded from the start.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        num_threads: Decoding threads.
        skip: Whether frames that no other refers to are skipped; the returned frames are the same either way.
        kept_bytes: Packets stay in memory if all of them have at most this size.
        source: The same file, open and scanned; the decoder takes it over.

    Raises:
        DecodeError: The file has no video stream, or its packets no time.
    """

    def __init__(
        self,
        path: str,
        num_threads: int,
        *,
        skip: bool = True,
        kept_bytes: int = KEPT_BYTES,
        source: AvSource | None = None,
    ) -> None:
        self._source = source or AvSource(path, kept_bytes=kept_bytes)
        self._index = self._source.index
        self._num_threads = num_threads
        self._source.context.thread_count = num_threads
        self.starts_s, self.end_s = self._index.starts_s, self._index.end_s
        self._disposable = self._index.disposable if skip else frozenset()
        self._from_start = (
            False  # whether the feed began at the first packet, so that all frames come out of it
        )
        self._reformatter = VideoReformatter()
        self._feed: Iterator[tuple[int, av.Packet]] = iter(())
        self._begun_at = -1  # the keyframe at which the feed began; -1 after its end
        self._passed = -1  # the last decoded frame
        self._skipped: set[int] = set()  # frames not given to the decoder since then

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        wanted = sorted(set(indices))
        clip = _Clip(wanted)
        # All wanted frames between two keyframes take one pass.
        for _, group in itertools.groupby(wanted, self._key_before):
            self._decode_group(list(group), clip)
        return torch.from_numpy(clip.in_order(indices)).permute(0, 3, 1, 2)

    def close(self) -> None:
        """See `Decoder`. Without it the file would stay open until reference cycles are collected."""
        self._feed = iter(())
        self._source.close()

    def _key_before(self, index: int) -> int:
        at = int(np.searchsorted(self._index.keys, index, side="right")) - 1
        return int(self._index.keys[at]) if at >= 0 else 0

    def _decode_group(self, group: list[int], clip: _Clip) -> None:
        """Decode frames that lie between two keyframes."""
        try:
            missing = self._read(self._key_before(group[0]), group, clip)
        except AV_ERRORS as error:
            self._end_feed()
            raise DecodeError(first_line(error)) from error
        if missing:
            raise DecodeError(f"frame {min(missing)} did not come out of the decoder")

    def _read(self, key: int, group: list[int], clip: _Clip) -> set[int]:
        """Decode `group` into `clip`; return the frames that were not decoded.

        Some containers seek by decoding time, to a later keyframe; then earlier ones are tried, and at last the whole
        stream without skipping.
        """
        goes_on = self._from_start or key == self._begun_at
        if goes_on and group[0] > self._passed and self._skipped.isdisjoint(group):
            missing = self._read_on(group, clip, self._disposable)
            if not missing:
                return missing
        keys = self._index.keys
        for start in keys[keys <= key][::-1][:_KEYS_TRIED].tolist():
            if self._begin_at(start):
                missing = self._read_on(group, clip, self._disposable)
                if not missing:
                    return missing
        self._restart()
        return self._read_on(group, clip, frozenset())

    def _begin_at(self, index: int) -> bool:
        """Seek to a keyframe; return whether the container found it."""
        self._begun_at, self._from_start, self._passed, self._skipped = index, False, -1, set()
        number = int(self._index.order[index])
        if self._source.kept is not None:
            self._source.context.flush_buffers()
            self._feed = itertools.islice(enumerate(self._source.kept), number, None)
            return True
        feed = self._source.seek(number)
        if feed is None:
            return False
        self._feed = feed
        return True

    def _restart(self) -> None:
        """Restart at the first packet, as after opening the file."""
        self._begun_at, self._from_start, self._passed, self._skipped = -1, True, -1, set()
        if self._source.kept is not None:
            self._source.context.flush_buffers()
            self._feed = iter(enumerate(self._source.kept))
            return
        self._feed = self._source.from_start(self._num_threads)

    def _end_feed(self) -> None:
        self._begun_at, self._from_start = -1, False

    def _read_on(self, group: list[int], clip: _Clip, disposable: frozenset[int]) -> set[int]:
        """Decode on until all of `group` are in `clip`; return those that were not decoded."""
        missing = set(group)
        frame_of_packet, context = self._index.frame_of_packet, self._source.context
        for number, packet in self._feed:
            shown = frame_of_packet.get(number, -1)
            if shown in disposable and shown not in missing:
                self._skipped.add(shown)
                continue
            if packet.size:
                packet.pts = number
            elif (
                packet.dts is not None
            ):  # a repeated frame in Theora and AVI; decoders take it for the stream's end
                continue
            self._take(context.decode(packet), missing, clip)
            if not missing:
                return missing
        self._end_feed()  # the decoder was flushed and takes no more packets
        return missing

    def _take(self, frames: list[av.VideoFrame], missing: set[int], clip: _Clip) -> None:
        """Put those of `frames` that are missing into `clip`."""
        for frame in frames:
            index = self._index.frame_of_packet.get(-1 if frame.pts is None else frame.pts, -1)
            self._passed = max(self._passed, index)
            if index in missing:
                missing.remove(index)
                clip.put(index, self._rgb(frame))

    def _rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the upright RGB pixels, uint8 `[H, W, C]`; valid until the frame is freed."""
        # The reformatter caches its tables between frames. Bicubic, as in FFmpeg's programs and torchcodec: it matters
        # for the colours of 10-bit frames.
        reformatted = self._reformatter.reformat(
            frame, format="rgb24", interpolation="BICUBIC", **_ONE_THREAD
        )
        plane = reformatted.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        pixels = rows[: plane.height, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        # A rotation flag counts degrees counter-clockwise, as rot90 does.
        turns = round(frame.rotation / 90)
        return np.rot90(pixels, k=turns) if turns else pixels


class _Clip:
    """The wanted frames `[T, H, W, C]`, filled in as they are decoded."""

    def __init__(self, wanted: list[int]) -> None:
        self._row = {index: row for row, index in enumerate(wanted)}
        self._frames: np.ndarray | None = None

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Copy a frame `[H, W, C]` to its row."""
        if self._frames is None:
            self._frames = np.empty((len(self._row), *pixels.shape), np.uint8)
        if pixels.shape != self._frames.shape[1:]:
            raise DecodeError(f"frame {index} has another size than those before")
        self._frames[self._row[index]] = pixels

    def in_order(self, indices: Sequence[int]) -> np.ndarray:
        """Return the frames in the requested order."""
        if self._frames is None:
            raise DecodeError("no frame was asked for")
        rows = [self._row[index] for index in indices]
        return self._frames if rows == list(range(len(self._row))) else self._frames[rows]
