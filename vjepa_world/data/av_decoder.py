"""Decodes single frames out of a video with PyAV, without decoding those that are neither wanted nor needed.

A frame out of the middle needs all frames back to the keyframe that others refer to. The rest, about half of what
x264 writes by default, is not even given to the decoder. Shapes: T frames, H W pixels, C = 3 channels (RGB).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from vjepa_world.data.decoder import AV_ERRORS, DecodeError, displayed, first_line
from vjepa_world.data.disposable import disposable

#: A video's stored packets stay in memory up to this many bytes: reading them anew is a twentieth of the work.
KEPT_BYTES = 2 << 20


class AvDecoder:
    """PyAV, from the keyframe before the first wanted frame, or on from where the last call ended.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        skip: whether frames that nobody needs are left out; the frames returned are the same either way.
        kept_bytes: packets stay in memory up to this size of all together.

    Raises:
        DecodeError: the file has no video stream, or its packets no presentation time.
    """

    def __init__(
        self, path: str, num_threads: int, *, skip: bool = True, kept_bytes: int = KEPT_BYTES
    ) -> None:
        try:
            self._container = av.open(path)
            self._stream = _best_stream(self._container)
            self._context = self._stream.codec_context
            stored, kept, spare = self._scan(kept_bytes)
        except AV_ERRORS as error:
            raise DecodeError(first_line(error)) from error
        shown = sorted((packet for packet in stored if packet.shown), key=lambda packet: packet.pts)
        if not shown:
            raise DecodeError("no frame has a presentation time")
        self._context.thread_count = num_threads
        self._pts = np.array([packet.pts for packet in shown])
        self._keys = np.flatnonzero([packet.is_keyframe for packet in shown])
        self._index: dict[int | None, int] = {
            int(pts): index for index, pts in reversed(list(enumerate(self._pts)))
        }
        unit_s = float(self._stream.time_base or 0)
        self._starts_s = self._pts * unit_s
        self.num_frames = len(shown)
        self.begin_s = float(self._starts_s[0])
        self.end_s = float(self._starts_s[-1]) + shown[-1].duration * unit_s
        # Of two packets with one time, halves of a picture or one picture after another, both are decoded.
        places = {self._index[pts] for pts in spare} if skip else set()
        self._spare = frozenset(index for index in places if not self._is_repeated(index))
        self._packets = kept
        self._place = {packet.pts: place for place, packet in enumerate(kept or [])}
        self._reformatter = VideoReformatter()
        self._feed: Iterator[av.Packet] = iter(())
        self._begun_at = -1  # the keyframe that the feed began at; -1: it has ended
        self._passed = -1  # the last frame that came out of the decoder
        self._left_out: set[int] = set()  # what was not given to the decoder since

    def _scan(self, kept_bytes: int) -> tuple[list[_Stored], list[av.Packet] | None, set[int]]:
        """Read through the file once, holding no more than `kept_bytes` of it.

        Returns:
            What is known of each packet; the packets, or None where they are larger; and the presentation times of
            those that no other needs.
        """
        stored: list[_Stored] = []
        kept: list[av.Packet] | None = []
        size = 0

        def contents() -> Iterator[memoryview]:
            nonlocal kept, size
            for packet in self._container.demux(self._stream):
                stored.append(_Stored.of(packet))
                size += packet.size
                if kept is not None:
                    kept.append(packet)
                if size > kept_bytes:
                    kept = None
                yield memoryview(packet) if packet.size else memoryview(b"")

        codec = self._context.codec.canonical_name
        flags = disposable(codec, self._context.extradata, contents())
        spare = {packet.pts for packet, flag in zip(stored, flags, strict=True) if flag and packet.shown}
        return stored, kept, spare

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(displayed(self._starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        wanted = sorted(set(indices))
        clip = _Clip(wanted)
        # All that is wanted between two keyframes needs one pass only.
        for _, group in itertools.groupby(wanted, self._key_before):
            self._decode_group(list(group), clip)
        return torch.from_numpy(clip.in_order(indices)).permute(0, 3, 1, 2)

    def everything(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._starts_s

    def close(self) -> None:
        """See `Decoder`. Left to itself, the file would stay open until cycles of references are collected."""
        self._feed, self._packets = iter(()), None
        self._container.close()

    def _key_before(self, index: int) -> int:
        place = int(np.searchsorted(self._keys, index, side="right")) - 1
        return int(self._keys[place]) if place >= 0 else 0

    def _decode_group(self, group: list[int], clip: _Clip) -> None:
        """Decode frames that lie between two keyframes.

        Some containers seek to the keyframe behind (they go by decoding time); then an earlier one is tried, and
        at last the whole stream, with nothing left out.
        """
        key = self._key_before(group[0])
        try:
            missing = self._read(key, group, clip)
        except AV_ERRORS as error:
            self._begun_at = -1
            raise DecodeError(first_line(error)) from error
        if missing:
            raise DecodeError(f"frame {min(missing)} did not come out of the decoder")

    def _read(self, key: int, group: list[int], clip: _Clip) -> set[int]:
        """Return the frames that did not come out."""
        if key == self._begun_at and group[0] > self._passed and self._left_out.isdisjoint(group):
            missing = self._read_on(group, clip, self._spare)
            if not missing:
                return missing
        for start in self._keys[self._keys <= key][::-1][:3].tolist():
            self._begin_at(start)
            missing = self._read_on(group, clip, self._spare)
            if not missing:
                return missing
        self._begin_at(0)
        return self._read_on(group, clip, frozenset())

    def _begin_at(self, index: int) -> None:
        pts = int(self._pts[index])
        self._begun_at, self._passed, self._left_out = index, -1, set()
        if self._packets is None:
            self._container.seek(pts, stream=self._stream)
            self._feed = self._container.demux(self._stream)
        else:
            self._context.flush_buffers()
            self._feed = itertools.islice(self._packets, self._place[pts] if index else 0, None)

    def _read_on(self, group: list[int], clip: _Clip, spare: frozenset[int]) -> set[int]:
        """Decode from where the feed is until all of `group` are in `clip`; return those that never came."""
        missing = set(group)
        for packet in self._feed:
            sent = self._index.get(packet.pts, -1)
            if sent in spare and sent not in missing:
                self._left_out.add(sent)
                continue
            self._take(self._context.decode(packet), missing, clip)
            if not missing:
                return missing
        self._begun_at = -1  # the decoder was told of the stream's end and takes no more
        return missing

    def _take(self, frames: list[av.VideoFrame], missing: set[int], clip: _Clip) -> None:
        """Put those of `frames` that are missing into `clip`."""
        for frame in frames:
            index = self._index.get(frame.pts, -1)
            while 0 <= index <= self._passed and self._is_repeated(index):
                index += 1
            self._passed = max(self._passed, index)
            if index in missing:
                missing.remove(index)
                clip.put(index, self._rgb(frame))

    def _rgb(self, frame: av.VideoFrame) -> np.ndarray:
        """Return the pixels [H,W,C], as they are to be displayed; valid until the frame is freed."""
        # The reformatter keeps its tables from frame to frame; small pictures are not worth threads of their own.
        plane = self._reformatter.reformat(frame, format="rgb24", threads=1).planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        pixels = rows[: plane.height, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        # A rotation flag counts degrees against the clock, as rot90 does.
        turns = round(frame.rotation / 90)
        return np.rot90(pixels, k=turns) if turns else pixels

    def _is_repeated(self, index: int) -> bool:
        """Whether the next frame has the same presentation time; damaged or carelessly cut files have such."""
        return index + 1 < self.num_frames and bool(self._pts[index] == self._pts[index + 1])


class _Stored(NamedTuple):
    """What is known of a packet without its contents. Times are in the stream's units."""

    pts: int
    duration: int
    is_keyframe: bool
    shown: bool  # it has a time, and no edit list cuts it away

    @classmethod
    def of(cls, packet: av.Packet) -> _Stored:
        """Return what is known of `packet`."""
        shown = packet.pts is not None and not packet.is_discard
        return cls(packet.pts or 0, packet.duration or 0, packet.is_keyframe, shown)


class _Clip:
    """The wanted frames [T,H,W,C], filled in as they come out of the decoder."""

    def __init__(self, wanted: list[int]) -> None:
        self._row = {index: row for row, index in enumerate(wanted)}
        self._frames: np.ndarray | None = None

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Copy a frame [H,W,C] to its place."""
        if self._frames is None:
            self._frames = np.empty((len(self._row), *pixels.shape), np.uint8)
        if pixels.shape != self._frames.shape[1:]:
            raise DecodeError(f"frame {index} is of another size than those before")
        self._frames[self._row[index]] = pixels

    def in_order(self, indices: Sequence[int]) -> np.ndarray:
        """Return the frames in the order in which they were asked for."""
        if self._frames is None:
            raise DecodeError("no frame was asked for")
        rows = [self._row[index] for index in indices]
        return self._frames if rows == list(range(len(self._row))) else self._frames[rows]


def _best_stream(container: av.container.InputContainer) -> av.VideoStream:
    best = container.streams.best("video")
    for stream in container.streams.video:
        if best is not None and stream.index == best.index:
            return stream
    raise DecodeError("it has no video stream")
