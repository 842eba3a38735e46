"""An LRU cache of open videos: opening one costs more than reading a clip from it."""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import Any

from vjepa_world.data.corpus.locations import Location
from vjepa_world.data.video.reader import VideoFile, open_video

_inherited: list[OrderedDict[Location, VideoFile]] = []


class VideoPool:
    """The `size` most recently used videos, open. In another process (forked or unpickled) it starts empty.

    Args:
        size: Number of videos that stay open.
        num_threads: Decoding threads of each.
        memory_bytes: Memory for whole decoded videos, given to the videos that are opened first.
        device: Where frames are decoded, see `open_video`.
    """

    def __init__(
        self, size: int = 16, *, num_threads: int = 1, memory_bytes: int = 0, device: str = "cpu"
    ) -> None:
        self._size = size
        self._device = device
        self._num_threads = num_threads
        self._memory_bytes = memory_bytes
        self._free_bytes = memory_bytes
        self._open: OrderedDict[Location, VideoFile] = OrderedDict()
        self._process = os.getpid()

    def get(self, path: Location) -> VideoFile:
        """Return the open video at `path`.

        Raises:
            VideoError: It cannot be opened.
        """
        if self._process != os.getpid():
            # A decoder's threads do not survive a fork, and freeing it would wait for them: keep it referenced.
            _inherited.append(self._open)
            self._open = OrderedDict()
            self._free_bytes = self._memory_bytes
            self._process = os.getpid()
        video = self._open.pop(path, None)
        if video is None:
            video = open_video(path, num_threads=self._num_threads, device=self._device)
            if video.num_bytes <= self._free_bytes:
                video.preload()
                self._free_bytes -= video.num_bytes
        self._open[path] = video
        while len(self._open) > self._size:
            self._drop_oldest()
        return video

    def _drop_oldest(self) -> None:
        _, oldest = self._open.popitem(last=False)
        if oldest.is_preloaded:
            self._free_bytes += oldest.num_bytes
        oldest.close()

    def close(self) -> None:
        """Close all videos."""
        for video in self._open.values():
            video.close()
        self._open.clear()
        self._free_bytes = self._memory_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {
            "size": self._size,
            "num_threads": self._num_threads,
            "memory_bytes": self._memory_bytes,
            "device": self._device,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)  # type: ignore[misc]
