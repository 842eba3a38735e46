"""Where the bytes of a video or an image are: in a file of its own, or in a tar shard, and read from there."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file inside an uncompressed tar file.

    Args:
        path: the tar file.
        name: what it is called in there.
        offset: where its bytes begin.
        size: how many they are.
    """

    path: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.path}/{self.name}"


Location = Path | TarMember


def suffix_of(place: Location) -> str:
    """Return the end of its name, from the last dot on, in small letters."""
    return Path(place.name).suffix.lower()


def size_of(place: Location) -> int:
    """Return its bytes."""
    return place.size if isinstance(place, TarMember) else place.stat().st_size


def ffmpeg_url(place: Location) -> str:
    """Return what FFmpeg opens it by: a URL, since it takes what stands before a colon in a bare name for a protocol.

    A range of a file goes through its `subfile` protocol.
    """
    if isinstance(place, TarMember):
        return f"subfile,,start,{place.offset},end,{place.offset + place.size},,:file:{place.path}"
    return f"file:{place}"


def open_location(place: Location) -> BinaryIO:
    """Open it for reading bytes.

    Raises:
        OSError: it is not there, or not readable.
    """
    if isinstance(place, TarMember):
        return io.BufferedReader(_Range(place))
    return open(place, "rb")


class _Range(io.RawIOBase):
    """The bytes of a tar member as a file."""

    def __init__(self, member: TarMember) -> None:
        self._file = open(member.path, "rb", buffering=0)  # noqa: SIM115 (closed by close)
        self._start, self._size, self._at = member.offset, member.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        self._at = max(base + offset, 0)
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        left = max(self._size - self._at, 0)
        self._file.seek(self._start + self._at)
        data = self._file.read(min(len(buffer), left))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        self._file.close()
        super().close()
