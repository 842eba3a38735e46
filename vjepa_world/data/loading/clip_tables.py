"""Fixed tables of clips of videos or episodes, which a frozen encoder encodes once.

A clip that cannot be decoded is its reason, a text, instead of pixels, so that loader processes pass the reason on.
Shapes: M clips in all, T frames of a clip, C = 3 channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vjepa_world.data.corpus.segments import Segment
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.video.pool import VideoPool
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.clip_input import ClipInput


class ClipTable(Protocol):
    """Clips by number.

    Attributes:
        shown: How they are cut.
        names: Names of the videos or episodes.
        groups: Index of the video or episode that each clip is from, int64 `[M]`.
    """

    shown: ClipInput
    names: Sequence[str]
    groups: np.ndarray

    def __len__(self) -> int:
        """Return M."""
        ...

    def __getitem__(self, index: int) -> Tensor | str:
        """Return clip `index`, uint8 `[T, C, S, S]`, or why it cannot be read."""
        ...

    def fingerprint(self) -> list[Any]:
        """Return JSON values that change when the clips do: files with their sizes and times, and clip positions."""
        ...


class VideoClips(Dataset[Tensor | str]):
    """The same number of clips of each video, evenly spaced; a video that is too short repeats its last frame.

    Args:
        segments: The videos.
        shown: How clips are cut.
        clips_per_video: Number of clips of each video.
        open_videos: Number of files that each process keeps open.
    """

    def __init__(
        self, segments: Sequence[Segment], shown: ClipInput, clips_per_video: int, open_videos: int = 16
    ) -> None:
        self.segments, self.shown, self.clips_per_video = list(segments), shown, clips_per_video
        self.names: Sequence[str] = [segment.name for segment in self.segments]
        self.groups = np.repeat(np.arange(len(self.segments)), clips_per_video)
        self._pool = VideoPool(open_videos)

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, index: int) -> Tensor | str:
        """Return clip `index`, uint8 `[T, C, S, S]`, or why it cannot be read."""
        segment = self.segments[self.groups[index]]
        try:
            times_s = self.times_s(index)
            return self.shown.pixels(self._pool.get(segment.location).frames_at(times_s))
        except DataError as error:
            return str(error)

    def times_s(self, index: int) -> np.ndarray:
        """Return the times of the frames of clip `index` in its file [s], `[T]`.

        Raises:
            DataError: The video cannot be opened.
        """
        segment = self.segments[self.groups[index]]
        video = self._pool.get(segment.location)
        # The middle of the last frame: the end itself may already be the next episode's first frame.
        last_s = min(segment.end_s or video.duration_s, video.duration_s) - 0.5 / video.fps
        spare_s = max(last_s - segment.start_s - self.shown.span_s, 0.0)
        position = (index % self.clips_per_video + 0.5) / self.clips_per_video
        times_s = segment.start_s + position * spare_s + np.arange(self.shown.frames) / self.shown.fps
        return np.minimum(times_s, max(last_s, segment.start_s))

    def fingerprint(self) -> list[Any]:
        """See `ClipTable`."""
        rows = [
            [*_stamp(segment.path), *_inside(segment), segment.start_s, segment.end_s]
            for segment in self.segments
        ]
        return ["videos", self.clips_per_video, rows]


class EpisodeClips(Dataset[Tensor | str]):
    """Clips of a trajectory dataset; each ends at the row whose label it has.

    Args:
        dataset: The trajectories.
        shown: How clips are cut.
        clips_per_episode: Number of clips of each episode, evenly spaced; 0 takes every row at which a clip can end.

    Raises:
        DataError: No episode is long enough.
        ConfigError: The clip's rate is higher than the dataset's.
    """

    def __init__(self, dataset: LeRobotDataset, shown: ClipInput, clips_per_episode: int) -> None:
        if shown.frames > 1 and shown.fps > dataset.fps:
            raise ConfigError(
                f"data.fps {shown.fps:g} is more than the {dataset.fps:g} frames per second of {dataset.path}; "
                "lower it."
            )
        self.dataset, self.shown = dataset, shown
        self.names: Sequence[str] = [
            f"episode {episode.index} of {dataset.path}" for episode in dataset.episodes
        ]
        self._back = np.round(np.arange(shown.frames)[::-1] * dataset.fps / shown.fps).astype(np.int64)
        ends = [self._ends(episode.length, clips_per_episode) for episode in dataset.episodes]
        self.rows = np.concatenate(ends)
        self.groups = np.repeat(np.arange(len(ends)), [len(part) for part in ends])
        if not len(self.rows):
            longest = max((episode.length for episode in dataset.episodes), default=0)
            raise DataError(
                f"no episode of {dataset.path} has the {self._back[0] + 1} rows of a clip, the longest has {longest}; "
                "lower data.frames, or raise data.fps."
            )

    def _ends(self, length: int, count: int) -> np.ndarray:
        """Return the rows of an episode at which clips end, in order."""
        possible = np.arange(self._back[0], length)
        if not count or count >= len(possible):
            return possible
        return possible[((np.arange(count) + 0.5) / count * len(possible)).astype(np.int64)]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor | str:
        """Return clip `index`, uint8 `[T, C, S, S]`, or why it cannot be read."""
        try:
            episode = self.dataset.episode(int(self.groups[index]))
            return self.shown.pixels(episode.frames(self.rows[index] - self._back))
        except DataError as error:
            return str(error)

    def fingerprint(self) -> list[Any]:
        """See `ClipTable`."""
        episodes = self.dataset.episodes
        paths = {e.data_path for e in episodes} | {p.path for e in episodes for p in e.videos.values()}
        files = [_stamp(path) for path in sorted(paths)]
        return ["episodes", self.dataset.cameras[0], files, self.groups.tolist(), self.rows.tolist()]


def _stamp(path: Path) -> list[Any]:
    state = path.stat()
    return [str(path.resolve()), state.st_size, state.st_mtime_ns]


def _inside(segment: Segment) -> list[Any]:
    """Return its offset and size in a tar file; nothing for an ordinary file."""
    return [] if segment.member is None else [segment.member.offset, segment.member.size]
