"""The length that a video file declares, which FFmpeg does not always compare with the file's size."""

from __future__ import annotations

import os
from typing import BinaryIO

_EBML = bytes.fromhex("1a45dfa3")
_MATROSKA_SEGMENT = bytes.fromhex("18538067")


def declared_size(file: BinaryIO) -> int:
    """Return the declared size of an open MP4, MOV, Matroska, WebM or AVI file [bytes]; 0 if there is none."""
    head = file.read(4096)
    if head[:4] == _EBML:
        return _matroska_size(head)
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return _riff_size(head)
    return _mp4_size(file) if head[4:8] == b"ftyp" else 0


def _riff_size(head: bytes) -> int:
    """Read the size of the first chunk, a lower bound of the file's; stream writers leave it open."""
    size = int.from_bytes(head[4:8], "little")
    return 0 if size in (0, 0xFFFFFFFF) else size + 8


def _mp4_size(file: BinaryIO) -> int:
    """Add the sizes of the file's top-level boxes (ISO/IEC 14496-12)."""
    file_size = file.seek(0, os.SEEK_END)
    at = 0
    while at < file_size:
        file.seek(at)
        box = file.read(16)
        size = int.from_bytes(box[:4], "big")
        if size == 1:  # a 64-bit size follows the type
            size = int.from_bytes(box[8:16], "big")
        if size < 8:  # 0 means up to the file's end; others are invalid
            return 0
        at += size
    return at


def _matroska_size(head: bytes) -> int:
    """Add the sizes of the EBML header and of the segment after it (RFC 8794, RFC 9559)."""
    header_size, at = _variable_integer(head, 4)
    at += header_size
    if head[at : at + 4] != _MATROSKA_SEGMENT:
        return 0
    segment_size, at = _variable_integer(head, at + 4)
    return at + segment_size if segment_size else 0


def _variable_integer(data: bytes, at: int) -> tuple[int, int]:
    """Read an integer (0 for "unknown"); return it and the offset after it."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (0 if value == (1 << 7 * width) - 1 else value), at + width
