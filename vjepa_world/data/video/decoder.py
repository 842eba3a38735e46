"""What every decoder of one video is: frames by time or by index, exactly, or an error that says why not.

Exactly means by the presentation times that stand in the file, not by a frame rate. Shapes: T frames, C = 3
channels (RGB), H W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import av
import numpy as np
from torch import Tensor

# "[01:02:03] /src/decoder.cc:292: " of decord, "function, /src/Decoder.cpp:1436, " of torchcodec
_SOURCE_PLACE = re.compile(r"(\[[\d:]+\] |\w+, )?\S+\.(cc|cpp|h):\d+[:,] ")

# What PyAV raises on damaged files: FFmpeg's errors, and those of reading senseless numbers and texts in a header.
AV_ERRORS = (av.error.FFmpegError, ValueError, OverflowError, ZeroDivisionError, MemoryError)


class DecodeError(Exception):
    """A backend could not decode; `video.py` turns it into an error that names the file."""


class Decoder(Protocol):
    """One open video stream. Times are in seconds on the file's own clock."""

    num_frames: int
    begin_s: float  # presentation time of the first frame
    end_s: float  # when the last frame's display ends
    starts_s: np.ndarray  # when each frame is first displayed, float64 [num_frames]

    def at_times(self, times_s: np.ndarray) -> Tensor:
        """Return uint8 [T,C,H,W], for each time the last frame that starts at or before it."""
        ...

    def at_indices(self, indices: Sequence[int]) -> Tensor:
        """Return uint8 [T,C,H,W], the frames at these places in presentation order."""
        ...

    def all_frames(self) -> tuple[Tensor, np.ndarray]:
        """Return all frames, uint8 [T,C,H,W], and when each starts [s]."""
        ...

    def close(self) -> None:
        """Close the file; nothing can be read afterwards."""
        ...


def frames_displayed_at(starts_s: np.ndarray, times_s: np.ndarray) -> list[int]:
    """Return for each time the index of the last frame that starts at or before it."""
    indices = np.searchsorted(starts_s, times_s, side="right") - 1
    return np.clip(indices, 0, len(starts_s) - 1).tolist()


def first_line(error: BaseException) -> str:
    """Return what went wrong, without the backends' source places, stack traces and lists of likely causes."""
    # What the system says of it, without the file's name.
    said = error.strerror if isinstance(error, av.error.FFmpegError | OSError) else None
    lines = [line.strip() for line in (said or str(error)).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    text = _SOURCE_PLACE.sub("", lines[0]).removeprefix("Check failed: ").partition(". Likely causes")[0]
    return text.rstrip(":. ")
