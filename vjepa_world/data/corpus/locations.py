"""The location of a video or an image: a file, or a member of a tar shard; and reading from it."""

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
        path: The tar file.
        name: Its name in the tar file.
        offset: Its first byte.
        size: Its size [bytes].
    """

    path: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.path}/{self.name}"


Location = Path | TarMember


def suffix_of(location: Location) -> str:
    """Return the suffix of its name in lower case, with the dot."""
    return Path(location.name).suffix.lower()


def size_of(location: Location) -> int:
    """Return its size [bytes]."""
    return location.size if isinstance(location, TarMember) else location.stat().st_size


def ffmpeg_url(location: Location) -> str:
    """Return FFmpeg's URL of it: in a bare name a colon would end a protocol.

    A tar member is read with the `subfile` protocol.
    """
    if isinstance(location, TarMember):
        return (
            f"subfile,,start,{location.offset},end,{location.offset + location.size},,:file:{location.path}"
        )
    return f"file:{location}"


def open_location(location: Location) -> BinaryIO:
    """Open it for reading bytes.

    Raises:
        OSError: It is missing or not readable.
    """
    if isinstance(location, TarMember):
        return io.BufferedReader(_Range(location))
    return open(location, "rb")


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
