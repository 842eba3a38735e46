"""Decodes single frames out of a video with PyAV, without decoding those that are neither wanted nor needed.

A frame out of the middle needs all frames back to the keyframe that others refer to. The rest, about half of what
x264 writes by default, is not even given to the decoder. Shapes: T frames, H W pixels, C = 3 channels (RGB).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from vjepa_world.data.video.av_source import AvSource
from vjepa_world.data.video.decoder import AV_ERRORS, DecodeError, first_line, frames_displayed_at

#: A video's stored packets stay in memory up to this many bytes: reading them anew is a twentieth of the work.
KEPT_BYTES = 2 << 20

#: How many keyframes further back are tried where a container does not find the one it is asked for.
_KEYS_TRIED = 3


class AvDecoder:
    """PyAV, from the keyframe before the first wanted frame, or on from where the last call ended.

    Every packet is given to the decoder under its number in the file, and a frame comes out under the number of its
    packet, so that frames are told apart even where packets have no times. After a seek the packets are compared
    with those of the first reading; where a container does not find its way, all is decoded from the start.

    Args:
        path: the file, or another name that FFmpeg opens it by.
        num_threads: decoding threads.
        skip: whether frames that nobody needs are left out; the frames returned are the same either way.
        kept_bytes: packets stay in memory up to this size of all together.
        source: the same file, open and read through; it becomes the decoder's.

    Raises:
        DecodeError: the file has no video stream, or its packets no time.
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
        self.num_frames = len(self._index)
        self.begin_s, self.end_s = float(self._index.starts_s[0]), self._index.end_s
        self.starts_s = self._index.starts_s
        self._disposable = self._index.disposable if skip else frozenset()
        self._from_start = (
            False  # whether the feed began at the first packet, so that all frames come out of it
        )
        self._reformatter = VideoReformatter()
        self._feed: Iterator[tuple[int, av.Packet]] = iter(())
        self._begun_at = -1  # the keyframe that the feed began at; -1: it has ended
        self._passed = -1  # the last frame that came out of the decoder
        self._left_out: set[int] = set()  # what was not given to the decoder since

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """See `Decoder`."""
        return self.at_indices(frames_displayed_at(self._index.starts_s, times_s))

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """See `Decoder`."""
        wanted = sorted(set(indices))
        clip = _Clip(wanted)
        # All that is wanted between two keyframes needs one pass only.
        for _, group in itertools.groupby(wanted, self._key_before):
            self._decode_group(list(group), clip)
        return torch.from_numpy(clip.in_order(indices)).permute(0, 3, 1, 2)

    def all_frames(self) -> tuple[Tensor, np.ndarray]:
        """See `Decoder`."""
        return self.at_indices(range(self.num_frames)), self._index.starts_s

    def close(self) -> None:
        """See `Decoder`. Left to itself, the file would stay open until cycles of references are collected."""
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
        """Return the frames that did not come out.

        Some containers seek to the keyframe behind (they go by decoding time); then an earlier one is tried, and
        at last the whole stream, with nothing left out.
        """
        goes_on = self._from_start or key == self._begun_at
        if goes_on and group[0] > self._passed and self._left_out.isdisjoint(group):
            missing = self._read_on(group, clip, self._disposable)
            if not missing:
                return missing
        keys = self._index.keys
        for start in keys[keys <= key][::-1][:_KEYS_TRIED].tolist():
            if self._begin_at(start):
                missing = self._read_on(group, clip, self._disposable)
                if not missing:
                    return missing
        self._begin_anew()
        return self._read_on(group, clip, frozenset())

    def _begin_at(self, index: int) -> bool:
        """Go back to a keyframe, and return whether the container found it."""
        self._begun_at, self._from_start, self._passed, self._left_out = index, False, -1, set()
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

    def _begin_anew(self) -> None:
        """Go back to the first packet, as after opening the file."""
        self._begun_at, self._from_start, self._passed, self._left_out = -1, True, -1, set()
        if self._source.kept is not None:
            self._source.context.flush_buffers()
            self._feed = iter(enumerate(self._source.kept))
            return
        self._feed = self._source.from_start(self._num_threads)

    def _end_feed(self) -> None:
        self._begun_at, self._from_start = -1, False

    def _read_on(self, group: list[int], clip: _Clip, disposable: frozenset[int]) -> set[int]:
        """Decode from where the feed is until all of `group` are in `clip`; return those that never came."""
        missing = set(group)
        frame_of_packet, context = self._index.frame_of_packet, self._source.context
        for number, packet in self._feed:
            shown = frame_of_packet.get(number, -1)
            if shown in disposable and shown not in missing:
                self._left_out.add(shown)
                continue
            if packet.size:
                packet.pts = number
            elif (
                packet.dts is not None
            ):  # "as before" in Theora and AVI; to the decoder it would be the stream's end
                continue
            self._take(context.decode(packet), missing, clip)
            if not missing:
                return missing
        self._end_feed()  # the decoder was told of the stream's end and takes no more
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
        """Return the pixels [H,W,C], as they are to be displayed; valid until the frame is freed."""
        # The reformatter keeps its tables from frame to frame; small pictures are not worth threads of their own.
        # Bicubic, as FFmpeg's own programs and torchcodec: it counts for the colours of 10-bit pictures.
        reformatted = self._reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1)
        plane = reformatted.planes[0]
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        pixels = rows[: plane.height, : 3 * plane.width].reshape(plane.height, plane.width, 3)
        # A rotation flag counts degrees against the clock, as rot90 does.
        turns = round(frame.rotation / 90)
        return np.rot90(pixels, k=turns) if turns else pixels


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
