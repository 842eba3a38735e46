"""The interface of a video decoder: frames by time or by index, exact by the presentation times in the file.

Shapes: T frames, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import av
import numpy as np
from torch import Tensor

# "function, /src/Decoder.cpp:1436, " in torchcodec's messages
_SOURCE_LOCATION = re.compile(r"(\w+, )?\S+\.(cc|cpp|h):\d+[:,] ")

#: PyAV's major version. Before 17 it has no index of a stream's packets, and crashes when it opens FLV.
PYAV = int(av.__version__.split(".")[0])

# What PyAV raises on damaged files: FFmpeg's errors, and those of converting invalid header fields.
AV_ERRORS = (av.error.FFmpegError, ValueError, OverflowError, ZeroDivisionError, MemoryError)


class DecodeError(Exception):
    """A decoder failed; `reader.py` turns it into an error that names the file."""


class Decoder(ABC):
    """One open video stream. Times are in seconds on the file's own clock.

    Attributes:
        starts_s: Time at which each frame is first displayed, float64 `[num_frames]`, increasing.
        end_s: Time at which the last frame's display ends.
    """

    starts_s: np.ndarray
    end_s: float

    @property
    def num_frames(self) -> int:
        """Number of displayed frames."""
        return len(self.starts_s)

    @property
    def begin_s(self) -> float:
        """Presentation time of the first frame [s]."""
        return float(self.starts_s[0])

    @abstractmethod
    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """Return the frames at these indices in presentation order, uint8 `[T, C, H, W]`."""

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """Return for each time [s] the last frame that starts at or before it, uint8 `[T, C, H, W]`."""
        return self.at_indices(frames_displayed_at(self.starts_s, times_s))

    def all_frames(self) -> Tensor:
        """Return all frames, uint8 `[num_frames, C, H, W]`."""
        return self.at_indices(range(self.num_frames))

    @abstractmethod
    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""


def frames_displayed_at(starts_s: np.ndarray, times_s: np.ndarray) -> list[int]:
    """Return for each time `[T]` [s] the index of the last frame that starts at or before it; `starts_s` is `[F]`."""
    indices = np.searchsorted(starts_s, times_s, side="right") - 1
    return np.clip(indices, 0, len(starts_s) - 1).tolist()


def first_line(error: BaseException) -> str:
    """Return the error's message without source locations, stack traces and lists of likely causes."""
    # Of system errors the reason alone, without the file's name.
    reason = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else None
    lines = [line.strip() for line in (reason or str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = _SOURCE_LOCATION.sub("", lines[0]).removeprefix("Check failed: ").partition(". Likely causes")[0]
    return text.rstrip(":. ")
