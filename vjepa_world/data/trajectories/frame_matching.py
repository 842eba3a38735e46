"""Which frame of a video belongs to each row of an episode: the nearest in time, as LeRobot takes it.

Shapes: T rows of an episode, F frames of a video.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from vjepa_world.data.trajectories.trajectory import VideoSpan
from vjepa_world.errors import DataError

# How far a row may lie from its frame, as a share of the time between two frames or two rows, whichever is shorter. A
# clock that drifts passes through the middle between two frames: there, and not only when it is off by a whole one, it
# must be seen.
_MOST_SHARE = 0.25


def nearest_frames(
    starts_s: np.ndarray,
    piece: VideoSpan,
    stamps_s: np.ndarray,
    *,
    fps: float,
    where: str,
    tolerance_s: float | None = None,
) -> np.ndarray:
    """Return the index of each row's frame, int64 [T].

    Args:
        starts_s: When each frame is first displayed, [F], rising.
        piece: Where the episode lies in the video.
        stamps_s: When each row was taken, from the episode's beginning, [T].
        fps: Rows a second.
        where: The file and the episode, for messages.
        tolerance_s: How far a row may lie from its frame; None takes a quarter of the time between two frames, or
            between two rows where that is shorter. (LeRobot's own default is 0.0001 s.)

    Raises:
        DataError: A row has no frame within the tolerance, or two rows have the same one: clock and video do not
            belong together.
    """
    times_s = piece.from_s + stamps_s
    after = np.searchsorted(starts_s, times_s).clip(0, len(starts_s) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(starts_s[after] - times_s < times_s - starts_s[before], after, before)
    off_s = np.abs(starts_s[nearest] - times_s)
    allowed_s = (
        _allowed(starts_s, nearest, fps) if tolerance_s is None else np.full(len(times_s), tolerance_s)
    )
    # What comes after the episode in the file is another episode's.
    end_s = max(piece.to_s, piece.from_s + (len(stamps_s) - 0.5) / fps) - _MOST_SHARE / fps
    bad = np.flatnonzero((off_s > allowed_s) | (starts_s[nearest] > end_s))
    if bad.size:
        row = int(bad[0])
        raise DataError(
            f"{where}, row {row}: its timestamp is {times_s[row]:.4f} s in {piece.path}, the nearest frame there is "
            f"displayed at {starts_s[nearest[row]]:.4f} s, allowed are {allowed_s[row]:.4f} s between them and none "
            f"after {max(end_s, 0.0):.4f} s ({bad.size} of {len(times_s)} rows are off). Rows and video do not belong "
            "together: leave the episode out, record it again, or allow more with tolerance_s."
        )
    same = np.flatnonzero(np.diff(nearest) <= 0)
    if same.size:
        row = int(same[0])
        raise DataError(
            f"{where}: rows {row} and {row + 1} have timestamps {stamps_s[row]:.4f} s and {stamps_s[row + 1]:.4f} s, "
            f"for which {piece.path} has one frame, or an earlier one. The clock stands still or goes back: leave the "
            "episode out, or record it again."
        )
    return nearest


def on_clock_of_frames(piece: VideoSpan, *, begin_s: float, earliest_s: float, fps: float) -> VideoSpan:
    """Return where an episode lies, counted from the first frame of its file.

    Some writers count on the file's own clock, which need not begin at 0: they do where the first episode in the file
    begins when its first frame is displayed.

    Args:
        piece: Where the episode lies in the video, as the dataset says.
        begin_s: When the file's first frame is displayed, on the file's own clock.
        earliest_s: When the first episode in the file begins, as the dataset says.
        fps: Frames a second.
    """
    near_s = _MOST_SHARE / fps
    if begin_s <= near_s or abs(earliest_s - begin_s) > near_s:
        return piece
    return dataclasses.replace(piece, from_s=piece.from_s - begin_s, to_s=piece.to_s - begin_s)


def _allowed(starts_s: np.ndarray, nearest: np.ndarray, fps: float) -> np.ndarray:
    """Return how far each row may lie from its frame, [T]."""
    gaps_s = np.diff(starts_s)
    if not len(gaps_s):
        return np.full(len(nearest), _MOST_SHARE / fps)
    beside_s = np.minimum(np.append(gaps_s, gaps_s[-1]), np.insert(gaps_s, 0, gaps_s[0]))
    return _MOST_SHARE * np.minimum(beside_s[nearest], 1 / fps)
