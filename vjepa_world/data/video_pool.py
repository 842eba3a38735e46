"""Keeps the last few videos open, since opening one costs more than reading a clip from it."""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

from vjepa_world.data.video import VideoFile, open_video


class VideoPool:
    """The `size` most recently used videos, open. Sent or forked to another process, it starts there empty."""

    def __init__(self, size: int = 16, *, num_threads: int = 1) -> None:
        self._size = size
        self._num_threads = num_threads
        self._open: OrderedDict[Path, VideoFile] = OrderedDict()
        self._process = os.getpid()

    def get(self, path: Path) -> VideoFile:
        """Return the open video at `path`.

        Raises:
            VideoError: it cannot be opened.
        """
        if self._process != os.getpid():
            # A decoder's threads and file position do not survive a fork.
            self._open = OrderedDict()
            self._process = os.getpid()
        video = self._open.pop(path, None)
        if video is None:
            video = open_video(path, num_threads=self._num_threads)
        self._open[path] = video
        while len(self._open) > self._size:
            self._open.popitem(last=False)[1].close()
        return video

    def close(self) -> None:
        """Close all."""
        for video in self._open.values():
            video.close()
        self._open.clear()

    def __getstate__(self) -> dict[str, int]:
        return {"size": self._size, "num_threads": self._num_threads}

    def __setstate__(self, state: dict[str, int]) -> None:
        self.__init__(state["size"], num_threads=state["num_threads"])  # type: ignore[misc]
