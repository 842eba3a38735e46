"""The index of a video stream's frames in display order, built from the stored packets. All decoders use it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from vjepa_world.data.video.decoder import DecodeError
from vjepa_world.data.video.packet_roles import Role

# If the last frame is displayed for less than this share of the shortest interval, its container stored no duration
# (FLV, ASF, variable-rate MP4), or the muxer's smallest.
_PLAUSIBLE_DURATION = 0.75


class StoredPacket(NamedTuple):
    """A packet without its content. Times are in the stream's units."""

    pts: int | None
    dts: int | None
    duration: int
    size: int
    is_keyframe: bool
    is_discard: bool  # an edit list cuts it away

    @property
    def identity(self) -> tuple[int | None, int | None, int]:
        """What identifies the packet in its stream, also after a seek."""
        return self.pts, self.dts, self.size


@dataclass(frozen=True)
class FrameIndex:
    """The T frames of one stream.

    Attributes:
        stored: All packets, in stored order.
        order: Number of the packet that holds each displayed frame, int64 `[T]`.
        starts_s: Time at which each is first displayed, on the file's own clock [s], float64 `[T]`.
        end_s: Time at which the last one's display ends [s].
        keys: Indices of the K frames at which decoding can begin, int64 `[K]`.
        disposable: Indices of frames that no other refers to.
        is_plain: Whether container and codec agree on times and keyframes, and each packet is one displayed frame, so
            that other decoders count the same frames.
    """

    stored: Sequence[StoredPacket]
    order: np.ndarray
    starts_s: np.ndarray
    end_s: float
    keys: np.ndarray
    disposable: frozenset[int]
    is_plain: bool
    frame_of_packet: dict[int, int] = field(init=False)  # packet number to frame index

    def __post_init__(self) -> None:
        """Invert `order`."""
        object.__setattr__(
            self, "frame_of_packet", {int(number): index for index, number in enumerate(self.order)}
        )

    def __len__(self) -> int:
        return len(self.order)

    @property
    def has_open_groups(self) -> bool:
        """Whether a frame is stored after a keyframe and displayed before it: decoding from there does not give it."""
        frames = np.argsort(self.order)  # in stored order
        latest_key = np.maximum.accumulate(np.where(np.isin(frames, self.keys), frames, 0))
        return bool((frames < latest_key).any())


def build_index(
    stored: Sequence[StoredPacket],
    roles: Sequence[Role],
    *,
    unit_s: float,
    fps: float,
    times_are_stored: bool,
    has_keyframes: bool,
    decode_order: Callable[[], list[tuple[int, int | None]]],
) -> FrameIndex:
    """Return the index of a stream's frames.

    Args:
        stored: All its packets.
        roles: The role of each packet.
        unit_s: The unit of their times [s].
        fps: The rate in the header, for a video of a single frame.
        times_are_stored: Whether the container stores presentation times, so that packets can be sorted by them.
        has_keyframes: Whether decoding can begin at keyframes.
        decode_order: Decodes everything, and returns for each frame its packet's number, and the decoding time of the
            packet that completed it; called if times do not give the order.

    Raises:
        DecodeError: No frame is displayed, or the packets have no times at all.
    """
    shown = [
        number
        for number, (packet, role) in enumerate(zip(stored, roles, strict=True))
        if packet.size and not packet.is_discard and not role.hidden
    ]
    times = [stored[number].pts for number in shown]
    is_sorted = times_are_stored and None not in times and len(set(times)) == len(times)
    is_sorted &= not any(role.uncertain for role in roles)
    # Stored times used as presentation times of reordered frames: the container is wrong, so decode from the start.
    is_misdated = is_sorted and any(role.reorders for role in roles)
    is_misdated &= times == sorted(time for time in times if time is not None)
    is_sorted &= not is_misdated
    has_keyframes &= not is_misdated
    order = sorted(shown, key=lambda number: stored[number].pts or 0) if is_sorted else []
    if is_sorted and has_keyframes and _key_frames(stored, roles, order)[:1] != [0]:
        is_sorted = False  # cut out of a longer video: frames before the first keyframe may not be decodable
    decoded = [] if is_sorted else decode_order()
    order = order if is_sorted else [number for number, _ in decoded]
    if not order:
        raise DecodeError("no frame is displayed")
    units = None if times_are_stored else _output_times([dts for _, dts in decoded])
    if units is None:
        units = _stored_times(stored, order, prefer_dts=not times_are_stored)
    starts_s = np.array(units, dtype=np.int64) * unit_s
    keys = _key_frames(stored, roles, order) if has_keyframes else []
    flagged = [index for index, number in enumerate(order) if stored[number].is_keyframe]
    return FrameIndex(
        stored=stored,
        order=np.array(order),
        starts_s=starts_s,
        end_s=float(starts_s[-1]) + _last_duration_s(starts_s, stored[order[-1]].duration * unit_s, fps),
        keys=np.array(keys, dtype=np.int64),
        disposable=frozenset(index for index, number in enumerate(order) if roles[number].disposable),
        is_plain=is_sorted and keys == flagged and len(order) == sum(1 for packet in stored if packet.size),
    )


def _output_times(times: list[int | None]) -> list[int] | None:
    """Return when each frame was decoded, estimated for the last ones; None if the known times do not increase."""
    known = list(itertools.takewhile(lambda time: time is not None, times))
    count = len(known)
    gaps = np.diff(np.array(known, dtype=np.int64))
    if count < 2 or (gaps <= 0).any() or any(time is not None for time in times[count:]):
        return None
    gap, last = max(int(np.median(gaps)), 1), int(known[-1])  # type: ignore[arg-type]
    return [*known, *(last + gap * step for step in range(1, len(times) - count + 1))]  # type: ignore[list-item]


def _stored_times(stored: Sequence[StoredPacket], order: list[int], prefer_dts: bool) -> list[int]:
    """Return when each frame is displayed by its packet's times, in the stream's units."""
    fields = [[stored[number].pts for number in order], [stored[number].dts for number in order]]
    for times in reversed(fields) if prefer_dts else fields:
        known = sorted(time for time in times if time is not None)
        if len(known) == len(order):
            return known
    raise DecodeError("its packets have no times")


def _key_frames(stored: Sequence[StoredPacket], roles: Sequence[Role], order: list[int]) -> list[int]:
    """Return frames marked as keyframes by container and codec, after which no earlier frame is stored."""
    frame_of_packet = {number: index for index, number in enumerate(order)}
    keys, latest = [], -1
    for number, packet in enumerate(stored):
        index = frame_of_packet.get(number)
        if index is None:
            continue
        if packet.is_keyframe and roles[number].is_entry_point and index > latest:
            keys.append(index)
        latest = max(latest, index)
    return keys


def _last_duration_s(starts_s: np.ndarray, stored_s: float, fps: float) -> float:
    """Return how long the last frame is displayed: as stored, else as long as the others."""
    gaps_s = np.diff(starts_s)
    gaps_s = gaps_s[gaps_s > 0]
    if len(gaps_s) == 0:
        return stored_s if stored_s > 0 else 1.0 / fps
    return stored_s if stored_s >= _PLAUSIBLE_DURATION * gaps_s.min() else float(np.median(gaps_s))
