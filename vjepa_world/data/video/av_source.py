"""A video file opened and scanned with PyAV: its packets, its frame index, seeking and restarting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import av

from vjepa_world.data.video.decoder import AV_ERRORS, DecodeError, first_line
from vjepa_world.data.video.frame_index import FrameIndex, StoredPacket, build_index
from vjepa_world.data.video.packet_roles import packet_roles

# Containers that store presentation times. In AVI and raw streams FFmpeg guesses them, wrongly if frames are stored in
# another order than displayed, or two in one packet.
_TIMED_CONTAINERS = frozenset(
    ("mov", "mp4", "matroska", "webm", "flv", "live_flv", "asf", "nut", "ogg", "mxf")
)

_INTRA_ONLY, _REORDERS = 1 << 0, 1 << 3  # FFmpeg's AV_CODEC_PROP_INTRA_ONLY and AV_CODEC_PROP_REORDER

# Codecs whose keyframes are marked rightly in any container. Other codecs (animations, screen recorders) are decoded
# from the start.
_KEYFRAMES = frozenset(
    ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "theora", "ffv1", "png")
    + ("wmv1", "wmv2", "wmv3", "vc1", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "h263", "flv1")
)

# Of these, codecs whose headers are not parsed: if a container marks all their frames as keyframes (as Matroska does
# for H.263), the marks mean nothing.
_ONLY_FLAGGED = frozenset(("wmv3", "vc1", "msmpeg4v1", "h263", "flv1"))

# A decoder needs the palette of the first packet.
_PALETTE = "pal8"


class AvSource:
    """One open video stream and the index of its frames.

    Args:
        path: The file, or another name that FFmpeg opens it by.
        kept_bytes: Packets stay in memory if all of them have at most this size.

    Attributes:
        index: Its frames.
        kept: All packets, with an empty one at the end; None if they are larger than `kept_bytes`.

    Raises:
        DecodeError: It cannot be opened or read, has no video stream, or its packets have no time.
    """

    def __init__(self, path: str, *, kept_bytes: int) -> None:
        self._path = path
        self.kept: list[av.Packet] | None = []
        try:
            self._open()
            self.index = self._scan(kept_bytes)
        except AV_ERRORS as error:
            raise DecodeError(first_line(error)) from error

    def _open(self) -> None:
        self.container = av.open(self._path)
        self.stream = _best_stream(self.container)
        self.context = self.stream.codec_context

    def close(self) -> None:
        """Close the file."""
        self.kept = None
        self.container.close()

    def _scan(self, kept_bytes: int) -> FrameIndex:
        """Read all packets once, keeping no more than `kept_bytes` in memory."""
        stored: list[StoredPacket] = []
        size = 0

        def contents() -> Iterator[memoryview]:
            nonlocal size
            for packet in self.container.demux(self.stream):
                stored.append(_stored(packet))
                size += packet.size
                if self.kept is not None:
                    self.kept.append(packet)
                if size > kept_bytes:
                    self.kept = None
                yield memoryview(packet) if packet.size else memoryview(b"")

        codec = self.context.codec.canonical_name
        roles = packet_roles(codec, self.context.extradata, contents())
        names = self.container.format.name.split(",")
        can_reorder = bool(self.context.codec.properties & _REORDERS)
        if codec == "mpeg4":
            can_reorder = any(role.reorders for role in roles)
        return build_index(
            stored,
            roles,
            unit_s=float(self.stream.time_base or 0),
            fps=float(self.stream.average_rate or self.stream.guessed_rate or 1),
            times_are_stored=not can_reorder or not _TIMED_CONTAINERS.isdisjoint(names),
            has_keyframes=self._has_keyframes(codec, stored),
            decode_order=self._decode_order,
        )

    def _has_keyframes(self, codec: str, stored: Sequence[StoredPacket]) -> bool:
        if self.context.pix_fmt == _PALETTE:
            return False
        if codec in _ONLY_FLAGGED and all(packet.is_keyframe for packet in stored if packet.size):
            return False
        return codec in _KEYFRAMES or bool(self.context.codec.properties & _INTRA_ONLY)

    def _decode_order(self) -> list[tuple[int, int | None]]:
        """Decode everything, as cheaply as possible.

        Returns:
            For each decoded frame its packet's number, and the decoding time of the packet that completed it.
        """
        order: list[tuple[int, int | None]] = []
        with av.open(self._path) as container:
            stream = _best_stream(container)
            context = stream.codec_context
            context.options = {"skip_loop_filter": "all", "skip_idct": "all"}
            for number, packet in enumerate(container.demux(stream)):
                if packet.size:
                    packet.pts = number
                elif packet.dts is not None:
                    continue
                order += [(frame.pts, frame.dts) for frame in context.decode(packet) if frame.pts is not None]
        return order

    def seek(self, number: int) -> Iterator[tuple[int, av.Packet]] | None:
        """Return the packets from `number` on, with their numbers; None if the container does not seek to it."""
        stored = self.index.stored
        wanted = stored[number]
        time = wanted.dts if wanted.pts is None else wanted.pts
        if time is None:
            return None
        try:
            self.container.seek(time, stream=self.stream)
            packets = self.container.demux(self.stream)
            first = next(packets)
        except (*AV_ERRORS, StopIteration):
            return None
        identity = _stored(first).identity
        at = next((n for n in range(number, -1, -1) if stored[n].identity == identity), None)
        return None if at is None else self._followed(first, packets, at, number)

    def _followed(
        self, first: av.Packet, packets: Iterator[av.Packet], at: int, start: int
    ) -> Iterator[tuple[int, av.Packet]]:
        """Yield packets from `start` on while they equal those of the first scan, where `first` is number `at`."""
        if at == start:
            yield at, first
        for number, packet in enumerate(packets, at + 1):
            if (
                number >= len(self.index.stored)
                or _stored(packet).identity != self.index.stored[number].identity
            ):
                return
            if number >= start:
                yield number, packet

    def from_start(self, num_threads: int) -> Iterator[tuple[int, av.Packet]]:
        """Reopen the file and return all packets with their numbers."""
        self.container.close()
        self._open()
        self.context.thread_count = num_threads
        return iter(enumerate(self.container.demux(self.stream)))


def _stored(packet: av.Packet) -> StoredPacket:
    return StoredPacket(
        packet.pts, packet.dts, packet.duration or 0, packet.size, packet.is_keyframe, packet.is_discard
    )


def _best_stream(container: av.container.InputContainer) -> av.VideoStream:
    best = container.streams.best("video")
    for stream in container.streams.video:
        if best is not None and stream.index == best.index:
            return stream
    raise DecodeError("it has no video stream")
