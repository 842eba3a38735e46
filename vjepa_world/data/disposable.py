"""Which stored pictures no other picture refers to: one that nobody asked for need not be decoded at all.

H.264 and HEVC say so in the headers of the pieces that a picture is stored in (NAL units); they are read here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

#: FFmpeg's names of the codecs that this module reads.
CODECS = ("h264", "hevc")

_START_CODE = b"\0\0\1"
_NO_UNIT = memoryview(b"\xff\xff")

# Kinds of NAL units that a disposable picture may consist of besides its slices: remarks (SEI), delimiters, filling.
# Anything else (parameter sets above all) may matter to later pictures, and keeps the packet.
_H264_SLICE, _H264_ASIDE = 1, (6, 9, 12)
_HEVC_ASIDE = (35, 38, 39, 40)
_HEVC_FIRST_NON_SLICE = 32
# Of the slices' kinds 0 to 14 the even ones are not referred to in their sub-layer.
_HEVC_LAST_NON_REFERENCE = 14


def disposable(codec: str, extradata: bytes | None, packets: Iterable[memoryview]) -> list[bool]:
    """Return for each packet of one stream whether the others decode to the same pictures without it.

    Args:
        codec: FFmpeg's name of the codec; for those not in `CODECS` no packet is disposable.
        extradata: the codec's header, which says how NAL units are set apart.
        packets: all the stream's packets, each looked at once.

    Source:
        ITU-T H.264, 7.4.1 (`nal_ref_idc`); ITU-T H.265, 7.4.2.2 (sub-layer non-reference pictures: only pictures of
        higher sub-layers may refer to them, so those of the highest are referred to by none).
    """
    header = extradata or b""
    if codec == "h264":
        length = (header[4] & 3) + 1 if len(header) > 4 and header[0] == 1 else 0
        return [_h264_disposable(packet, length) for packet in packets]
    if codec == "hevc":
        length = (header[21] & 3) + 1 if len(header) > 21 and header[0] == 1 else 0
        layers = [(_hevc_free_layer(packet, length), _hevc_highest(packet, length)) for packet in packets]
        top = max((highest for _, highest in layers), default=0)
        return [free == top > 0 for free, _ in layers]
    return [False for _ in packets]


def _h264_disposable(packet: memoryview, length: int) -> bool:
    slices = 0
    for unit in _units(packet, length):
        kind, referred = unit[0] & 31, unit[0] & 0x60
        if kind == _H264_SLICE and not referred:
            slices += 1
        elif kind not in _H264_ASIDE:
            return False
    return slices > 0


def _hevc_free_layer(packet: memoryview, length: int) -> int:
    """Return the sub-layer (1, 2, ...) within which no picture refers to this one; 0 where one may."""
    free = 0
    for unit in _units(packet, length):
        if len(unit) < 2 or unit[0] & 1 or unit[1] & 0xF8:  # cut off, or of another layer than the base
            return 0
        kind = unit[0] >> 1
        if kind <= _HEVC_LAST_NON_REFERENCE and kind % 2 == 0:
            free = unit[1] & 7
        elif kind not in _HEVC_ASIDE:
            return 0
    return free


def _hevc_highest(packet: memoryview, length: int) -> int:
    """Return the highest sub-layer among a packet's slices, from 1."""
    units = [unit for unit in _units(packet, length) if len(unit) > 1]
    return max((unit[1] & 7 for unit in units if unit[0] >> 1 < _HEVC_FIRST_NON_SLICE), default=0)


def _units(packet: memoryview, length: int) -> Iterator[memoryview]:
    """Yield the NAL units, each at least a byte long: behind their lengths, or between start codes (`length` 0).

    Where lengths do not add up, the rest is yielded as one unit of a kind that neither codec has.
    """
    if length:
        place = 0
        while place < len(packet):
            size = int.from_bytes(packet[place : place + length], "big")
            place += length
            if size == 0 or place + size > len(packet):
                yield _NO_UNIT
                return
            yield packet[place : place + min(size, 2)]  # its header
            place += size
        return
    data = bytes(packet)
    place = data.find(_START_CODE)
    while place >= 0:
        if place + 3 < len(data):
            yield packet[place + 3 : place + 5]
        place = data.find(_START_CODE, place + 3)
