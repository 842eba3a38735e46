"""Matches the frames of a video to the rows of an episode: the closest in time, as LeRobot does.

Shapes: T rows of an episode, F frames of a video.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from vjepa_world.data.trajectories.trajectory import VideoSpan
from vjepa_world.errors import DataError

# Largest distance of a row from its frame, as a share of the time between two frames or two rows, whichever is shorter.
# A drifting clock must be detected halfway between two frames, before it is off by a whole one.
_MOST_SHARE = 0.25


def nearest_frames(
    starts_s: np.ndarray,
    span: VideoSpan,
    stamps_s: np.ndarray,
    *,
    fps: float,
    where: str,
    tolerance_s: float | None = None,
) -> np.ndarray:
    """Return the index of each row's frame, int64 `[T]`.

    Args:
        starts_s: Time at which each frame is first displayed [s], `[F]`, increasing.
        span: The episode's span of the video.
        stamps_s: Time of each row from the beginning of the episode [s], `[T]`.
        fps: Rows per second.
        where: The file and the episode, for messages.
        tolerance_s: Largest distance of a row from its frame [s]; None takes a quarter of the time between two frames
            or two rows, whichever is shorter. (LeRobot's default is 0.0001 s.)

    Raises:
        DataError: A row has no frame within the tolerance, or two rows have the same frame.
    """
    times_s = span.from_s + stamps_s
    after = np.searchsorted(starts_s, times_s).clip(0, len(starts_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(starts_s[after] - times_s < times_s - starts_s[before], after, before)
    off_s = np.abs(starts_s[nearest] - times_s)
    allowed_s = (
        _allowed(starts_s, nearest, fps) if tolerance_s is None else np.full(len(times_s), tolerance_s)
    )
    # Later frames in the file belong to another episode.
    end_s = max(span.to_s, span.from_s + (len(stamps_s) - 0.5) / fps) - _MOST_SHARE / fps
    bad = np.flatnonzero((off_s > allowed_s) | (starts_s[nearest] > end_s))
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{where}, row {row}: its timestamp is {times_s[row]:.4f} s in {span.path}, the nearest frame there is "
            f"displayed at {starts_s[nearest[row]]:.4f} s, allowed are {allowed_s[row]:.4f} s between them and none "
            f"after {max(end_s, 0.0):.4f} s ({bad.size} of {len(times_s)} rows are off). Rows and video do not belong "
            "together: leave the episode out, record it again, or allow more with tolerance_s."
        )
    same = np.flatnonzero(np.diff(nearest) <= 0)
    if same.size:
        row = int(same[0])
        raise DataError(
            f"{where}: rows {row} and {row + 1} have timestamps {stamps_s[row]:.4f} s and {stamps_s[row + 1]:.4f} s, "
            f"for which {span.path} has one frame, or an earlier one. The clock stops or goes back: leave the "
            "episode out, or record it again."
        )
    return nearest


def on_clock_of_frames(span: VideoSpan, *, begin_s: float, earliest_s: float, fps: float) -> VideoSpan:
    """Return an episode's span relative to the first frame of its file.

    Some writers use the file's own clock, which need not begin at 0. That is so if the first episode in the file begins
    at the time of its first frame.

    Args:
        span: The span that the dataset declares.
        begin_s: Time of the first frame on the file's own clock [s].
        earliest_s: Declared begin of the first episode in the file [s].
        fps: Frames per second.
    """
    near_s = _MOST_SHARE / fps
    if begin_s <= near_s or abs(earliest_s - begin_s) > near_s:
        return span
    return dataclasses.replace(span, from_s=span.from_s - begin_s, to_s=span.to_s - begin_s)


def _allowed(starts_s: np.ndarray, nearest: np.ndarray, fps: float) -> np.ndarray:
    """Return the largest distance of each row from its frame [s], `[T]`."""
    gaps_s = np.diff(starts_s)
    if not len(gaps_s):
        return np.full(len(nearest), _MOST_SHARE / fps)
    shorter_gap_s = np.minimum(np.append(gaps_s, gaps_s[-1]), np.insert(gaps_s, 0, gaps_s[0]))
    return _MOST_SHARE * np.minimum(shorter_gap_s[nearest], 1 / fps)
