"""The length that a Matroska or WebM file gives itself, which FFmpeg does not compare with the file."""

from __future__ import annotations

from pathlib import Path

_EBML = bytes.fromhex("1a45dfa3")
_SEGMENT = bytes.fromhex("18538067")


def matroska_size(path: Path) -> int:
    """Return how many bytes the file should have, 0 when it is no Matroska file or does not say (RFC 8794, 9559)."""
    with open(path, "rb") as file:
        head = file.read(4096)
    if head[:4] != _EBML:
        return 0
    header_size, at = _number(head, 4)
    at += header_size
    if head[at : at + 4] != _SEGMENT:
        return 0
    segment_size, at = _number(head, at + 4)
    return at + segment_size if segment_size else 0


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a variable-size integer; return it, 0 where it stands for "unknown", and the place behind it."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return (0 if value == (1 << 7 * width) - 1 else value), at + width
