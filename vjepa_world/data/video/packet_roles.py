"""The role of each stored packet, from the codec's headers: disposable, an entry point for decoding, or hidden.

Containers mark keyframes too, but not always rightly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

#: FFmpeg's names of the codecs whose disposable frames are recognised.
SKIPPING_CODECS = ("h264", "hevc")

_START_CODE = b"\0\0\1"
_NO_UNIT = memoryview(b"\xff\xff")

# Types of NAL units that a disposable picture may have besides its slices: SEI messages, delimiters, filler data. Any
# other (parameter sets above all) may matter to later pictures, so the packet is needed.
_H264_SLICE, _H264_IDR, _H264_SEI, _H264_ASIDE = 1, 5, 6, (6, 9, 12)
_HEVC_ASIDE = (35, 38, 39, 40)
_HEVC_FIRST_NON_SLICE = 32
_HEVC_RANDOM_ACCESS = range(16, 24)
# Of the slice types 0 to 14 the even ones are not referred to in their sub-layer.
_HEVC_LAST_NON_REFERENCE = 14

_RECOVERY_POINT = 6  # type of an SEI payload

_MPEG4_PICTURE = b"\0\0\1\xb6"
_MPEG4_I, _MPEG4_B = 0, 2
_MPEG4_TINY = 16  # bytes; a "not coded" picture takes fewer

_MPEG2_PICTURE, _MPEG2_I = b"\0\0\1\0", 1

_AV1_FRAMES = (3, 6)


class Role(NamedTuple):
    """The role of a packet in its stream.

    Attributes:
        disposable: No other packet refers to it.
        is_entry_point: Decoding can begin here: the codec says that all pictures displayed later are complete.
        hidden: It holds no displayed picture.
        reorders: Its picture is displayed before an earlier stored one; known for MPEG-4 only.
        uncertain: It may contain no displayed frame, or two; only decoding shows which.
    """

    disposable: bool = False
    is_entry_point: bool = True
    hidden: bool = False
    reorders: bool = False
    uncertain: bool = False


_PLAIN = Role()


def packet_roles(codec: str, extradata: bytes | None, packets: Iterable[memoryview]) -> list[Role]:
    """Return the role of each packet of a stream; that of a plain picture for codecs that are not parsed here.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The codec's header, which defines how NAL units are separated.
        packets: All packets of the stream; each is read once.

    Source:
        ITU-T H.264, 7.4.1 (`nal_ref_idc`) and D.2.8 (recovery points); ITU-T H.265, 7.4.2.2 (sub-layer non-reference
        pictures: only pictures of higher sub-layers may refer to them, so those of the highest are referred to by
        none); RFC 6386, 9.1 (VP8); VP9 bitstream specification, 6.2; AV1 bitstream specification, 5.9.2; ISO/IEC
        14496-2, 6.2.5 (MPEG-4); ITU-T H.262, 6.2.3 (MPEG-2); Theora specification, 7.1; FFmpeg's `msmpeg4dec.c` and
        `wmv2dec.c`.
    """
    header = extradata or b""
    if codec == "h264":
        length = (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else 0
        return [_h264_role(packet, length) for packet in packets]
    if codec == "hevc":
        length = (header[21] & 3) + 1 if len(header) > 21 and header[0] == 1 else 0
        seen = [_hevc_layers(packet, length) for packet in packets]
        top = max((highest for _, highest, _ in seen), default=0)
        return [Role(disposable=free == top > 0, is_entry_point=entry) for free, _, entry in seen]
    read: Callable[[memoryview], Role] | None = _READERS.get(codec)
    return [_PLAIN if read is None else read(packet) for packet in packets]


def _h264_role(packet: memoryview, length: int) -> Role:
    slices, is_entry_point, others = 0, False, False
    for unit in _units(packet, length):
        kind, referred = unit[0] & 31, unit[0] & 0x60
        if kind == _H264_SLICE and not referred:
            slices += 1
        elif kind not in _H264_ASIDE:
            others = True
            is_entry_point |= kind == _H264_IDR
        elif kind == _H264_SEI:
            is_entry_point |= _is_clean_recovery_point(unit)
    return Role(disposable=slices > 0 and not others, is_entry_point=is_entry_point)


def _is_clean_recovery_point(unit: memoryview) -> bool:
    """Return whether an SEI message marks a recovery point at this very picture, not after a gradual refresh."""
    data, at = bytes(unit[1:64]), 0
    while at + 2 < len(data):
        kind, size = data[at], data[at + 1]
        if kind == 255 or size == 255:  # longer than a recovery point
            return False
        if kind == _RECOVERY_POINT:
            return data[at + 2] & 0x80 != 0  # recovery_frame_cnt 0, an Exp-Golomb code of the single bit 1
        at += 2 + size
    return False


def _hevc_layers(packet: memoryview, length: int) -> tuple[int, int, bool]:
    """Return a packet's sub-layer, the highest sub-layer of its slices, and whether it is an entry point.

    The sub-layer counts from 1; it is 0 if a picture of the same sub-layer may refer to this one.
    """
    free, highest, is_entry_point, kept = 0, 0, False, False
    for unit in _units(packet, length):
        if len(unit) < 2 or unit[0] & 1 or unit[1] & 0xF8:  # cut off, or of another layer than the base
            kept = True
            continue
        kind = unit[0] >> 1
        if kind < _HEVC_FIRST_NON_SLICE:
            highest = max(highest, unit[1] & 7)
            is_entry_point |= kind in _HEVC_RANDOM_ACCESS
        if kind <= _HEVC_LAST_NON_REFERENCE and kind % 2 == 0:
            free = unit[1] & 7
        elif kind not in _HEVC_ASIDE:
            kept = True
    return (0 if kept else free), highest, is_entry_point


def _vp8_role(packet: memoryview) -> Role:
    if len(packet) == 0:
        return _PLAIN
    return Role(is_entry_point=not packet[0] & 1, hidden=not packet[0] & 0x10)


def _vp9_role(packet: memoryview) -> Role:
    if len(packet) == 0:
        return _PLAIN
    bits = f"{packet[0]:08b}{packet[1] if len(packet) > 1 else 0:08b}"
    profile = int(bits[3] + bits[2], 2)
    flags = bits[5:] if profile == 3 else bits[4:]
    shows_existing, needs_others, shown = flags[0] == "1", flags[1] == "1", flags[2] == "1"
    # Of several frames in a packet the last one is displayed.
    several = packet[-1] & 0xE0 == 0xC0
    return Role(
        is_entry_point=not shows_existing and not needs_others,
        hidden=not (shows_existing or shown or several),
    )


def _av1_role(packet: memoryview) -> Role:
    """Parse the header of the packet's first picture, in an OBU of type 3 or 6."""
    at = 0
    while at < len(packet):
        kind, has_extension, has_size = packet[at] >> 3 & 15, packet[at] & 4, packet[at] & 2
        at += 2 if has_extension else 1
        size, shift = 0, 0
        while has_size and at < len(packet):
            size |= (packet[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not packet[at - 1] & 0x80:
                break
        if kind in _AV1_FRAMES and at < len(packet):
            return Role(is_entry_point=packet[at] & 0xE0 == 0)
        if not has_size:
            break
        at += size
    return Role(is_entry_point=False)


def _mpeg4_role(packet: memoryview) -> Role:
    """Packed bitstreams hold two pictures in a packet, and a tiny or "not coded" placeholder in the next."""
    data = bytes(packet)
    at = data.find(_MPEG4_PICTURE)
    if at < 0 or at + 4 >= len(data):
        return Role(is_entry_point=False, uncertain=len(data) > 0)
    kind = data[at + 4] >> 6
    uncertain = len(data) - at < _MPEG4_TINY or data.find(_MPEG4_PICTURE, at + 4) >= 0
    return Role(is_entry_point=kind == _MPEG4_I, reorders=kind == _MPEG4_B, uncertain=uncertain)


def _mpeg2_role(packet: memoryview) -> Role:
    data = bytes(packet)
    at = data.find(_MPEG2_PICTURE)
    return Role(is_entry_point=0 <= at < len(data) - 5 and data[at + 5] >> 3 & 7 == _MPEG2_I)


def _two_bits_role(packet: memoryview) -> Role:
    """In Theora and Microsoft's MPEG-4 the first two bits of an intra picture are 0."""
    return Role(is_entry_point=len(packet) > 0 and packet[0] & 0xC0 == 0)


def _wmv2_role(packet: memoryview) -> Role:
    return Role(is_entry_point=len(packet) > 0 and packet[0] & 0x80 == 0)


_READERS: dict[str, Callable[[memoryview], Role]] = {
    "vp8": _vp8_role,
    "vp9": _vp9_role,
    "av1": _av1_role,
    "mpeg4": _mpeg4_role,
    "mpeg1video": _mpeg2_role,
    "mpeg2video": _mpeg2_role,
    "theora": _two_bits_role,
    "msmpeg4v2": _two_bits_role,
    "msmpeg4v3": _two_bits_role,
    "wmv1": _two_bits_role,
    "wmv2": _wmv2_role,
}


def _units(packet: memoryview, length: int) -> Iterator[memoryview]:
    """Yield the NAL units, each at least one byte: after their lengths, or between start codes (`length` 0).

    If lengths do not add up, the rest is yielded as one unit of a type that neither codec has.
    """
    if length:
        at = 0
        while at < len(packet):
            size = int.from_bytes(packet[at : at + length], "big")
            at += length
            if size == 0 or at + size > len(packet):
                yield _NO_UNIT
                return
            yield packet[at : at + size]
            at += size
        return
    data = bytes(packet)
    at = data.find(_START_CODE)
    while at >= 0:
        after = data.find(_START_CODE, at + 3)
        if at + 3 < len(data):
            yield packet[at + 3 : after if after >= 0 else len(data)]
        at = after
