"""A weighted mixture of corpora, and random clips drawn from it.

Shapes: V views of a clip, T frames of a view, C = 3 channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vjepa_world.data.config import SourceConfig, VideoDataConfig
from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.corpus.corpus import Corpus, clip_span_s, find_videos
from vjepa_world.data.corpus.images import load_image
from vjepa_world.data.corpus.segments import Segment, Segments
from vjepa_world.data.loading.transforms import crop_views
from vjepa_world.data.trajectories.formats.lerobot.metadata import is_lerobot
from vjepa_world.data.trajectories.registry import ROBOT_DATA_SUFFIXES, is_trajectories
from vjepa_world.data.video.backends import check_decode_device, find_backend
from vjepa_world.data.video.pool import VideoPool
from vjepa_world.data.video.reader import VideoError
from vjepa_world.errors import DataError

logger = logging.getLogger(__name__)

# Purposes of random numbers; each has its own stream.
_GROUP, _SEGMENT, _CLIP = range(3)

#: Draws for one entry, times the share of good segments at the scan: the chance that all fail is exp(-this).
_MOST_DRAWS = 40.0
_NAMED = 3  # reasons that an error lists


class BadClip(NamedTuple):
    """A file that could not be read: its name, the reason, and the number of rows of its source that it stands for."""

    name: str
    reason: str
    rows: int


class Clip(NamedTuple):
    """One entry of a batch.

    Attributes:
        frames: uint8 `[V, T, C, S, S]`.
        name: File and time, "FILE @ 3.25 s".
        label: "" if the corpus has none.
        bad: The files that were drawn before it and could not be read.
    """

    frames: Tensor
    name: str
    label: str
    bad: tuple[BadClip, ...]


#: Called with an attempt's number and the file's name before it is read; returns the reason of a known failure.
Watch = Callable[[int, str], str | None]


class ClipMixture(Dataset[Clip]):
    """Random clips of several corpora: entry e of step s depends on (seed, s, e) alone, so any process can make it.

    All clips of a step have one length: sources of the same number of frames form a group; a step draws its group, and
    each entry its source, both by weight. Then a segment of the source is drawn uniformly, a start time, and for each
    view one crop box and flip for all its frames. A file that cannot be read is reported with the clip, and another
    segment is drawn with the next attempt's numbers; so the draw depends on the files alone, not on when or by which
    process one was found bad.

    Args:
        config: See `VideoDataConfig`.
        num_frames: T, if a source does not set it.
        image_size: S [pixels].
        seed: Determines all clips.
        views: V, independent crops and flips of the same frames.

    Attributes:
        bad: The files that were found bad before the first step.
        total: Number of segments, good and bad.

    Raises:
        DataError: A source has no usable video, or more than `max_bad_fraction` bad ones.
        ConfigError: There is no such `decode_device`.
    """

    def __init__(
        self, config: VideoDataConfig, *, num_frames: int, image_size: int, seed: int, views: int = 1
    ) -> None:
        check_decode_device(config.decode_device)
        self.config, self.image_size, self.seed, self.views = config, image_size, seed, views
        self.bad = BadFiles(config.max_bad_fraction)
        self.total = 0
        sources = [self._source(*item) for item in config.all_sources(num_frames).items()]
        lengths = dict.fromkeys(source.frames for source in sources)
        self._groups = [_Group([s for s in sources if s.frames == length]) for length in lengths]
        self._group_shares = _shares([group.weight for group in self._groups])
        # Bad files that this process has met; the loader keeps those of the run.
        self._met = BadFiles(config.max_bad_fraction, quiet=True)
        self._met.include(self.bad)
        self._pool = VideoPool(
            config.open_videos, memory_bytes=round(config.memory_gb * 1e9), device=config.decode_device
        )

    def _source(self, name: str, config: SourceConfig) -> _Source:
        corpus = _find_videos(config.path)
        span_s = clip_span_s(config.frames_per_clip, config.fps)
        segments, good, bad = corpus.fitted(span_s, self.config.max_bad_fraction, self.config.timeout_s)
        self.bad.include(bad)  # logged already
        self.total += corpus.total
        logger.info("video segments: %d in %s%s", good.sum(), config.path, f" ({name})" if name else "")
        if not good.any():
            raise DataError(f"{config.path} has no segment that a clip of {span_s:.2f} s can be cut from.")
        if not segments.image[good].all():
            find_backend()  # before worker processes start, each of which would log the fallback
        # Bad segments stay in the table, so that one that turns bad later does not change the other draws.
        return _Source(
            path=config.path,
            segments=segments,
            good=good,
            weight=config.weight,
            frames=config.frames_per_clip,
            span_s=span_s,
            offsets_s=np.arange(config.frames_per_clip) / config.fps,
        )

    def datasets(self) -> list[Path]:
        """Return the folders of the LeRobot datasets whose videos are among the clips."""
        tables = [source.segments for group in self._groups for source in group.sources]
        files = {table[int(row)].path for table in tables for row in _first_of_each(table)}
        folders = {next(filter(is_lerobot, file.parents), None) for file in files}
        return sorted(folder for folder in folders if folder is not None)

    def __len__(self) -> int:
        """Return the number of usable segments; any step and entry can be drawn."""
        return self.total - len(self.bad)

    def shape(self, step: int) -> tuple[int, int, int, int, int]:
        """Return the shape `[V, T, C, S, S]` of the clips of a step."""
        return self._shape(self._group(step).frames)

    @property
    def largest_shape(self) -> tuple[int, int, int, int, int]:
        """Shape `[V, T, C, S, S]` of the longest clips."""
        return self._shape(max(group.frames for group in self._groups))

    def _shape(self, frames: int) -> tuple[int, int, int, int, int]:
        return self.views, frames, 3, self.image_size, self.image_size

    def __getitem__(self, index: tuple[int, int]) -> Clip:
        """Return entry `index[1]` of step `index[0]`.

        Raises:
            DataError: Too many files are bad.
        """
        return self.clip(*index)

    def clip(self, step: int, entry: int, watch: Watch | None = None) -> Clip:
        """Return entry `entry` of step `step`; `watch` is called before each file is read.

        Raises:
            DataError: Too many files are bad.
        """
        group = self._group(step)
        bad: list[BadClip] = []
        for attempt in range(group.most_draws):
            # Neighbours share the draw of a video; a replacement is drawn for each separately.
            drawn_by = entry if bad else entry - entry % self.config.clips_per_video
            rng = self._rng(_SEGMENT, step, drawn_by, attempt)
            source = group.sources[_drawn(group.shares, rng)]
            row = int(rng.integers(len(source.segments)))
            if not source.good[row]:
                continue
            segment = source.segments[row]
            known = watch(attempt, segment.name) if watch is not None else None
            try:
                if known is not None:
                    raise VideoError(known)
                frames, name = self._cut(source, segment, self._rng(_CLIP, step, entry, attempt))
                return Clip(frames, name, segment.label, tuple(bad))
            except VideoError as error:
                bad.append(BadClip(segment.name, str(error), source.segments.copies(row)))
                self._met.add(segment.name, str(error), rows=bad[-1].rows)
                self._met.check(self.total)
        raise DataError(self._exhausted(group, bad))

    def _exhausted(self, group: _Group, bad: list[BadClip]) -> str:
        """Return the message if no clip was found, although the scan found good segments."""
        reasons = dict.fromkeys(clip.reason for clip in bad)
        listed = [
            *list(reasons)[:_NAMED],
            *([f"... and {len(reasons) - _NAMED} more"] if len(reasons) > _NAMED else []),
        ]
        return (
            f"No clip of {group.frames} frames could be read in {group.most_draws} draws from "
            f"{', '.join(source.path for source in group.sources)}: nearly all files that were readable at the start "
            "are bad now. Check that disk, then continue with resume=true:\n  " + "\n  ".join(listed)
        )

    def _rng(self, use: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((use, self.seed, *numbers))

    def _group(self, step: int) -> _Group:
        if len(self._groups) == 1:
            return self._groups[0]
        return self._groups[_drawn(self._group_shares, self._rng(_GROUP, step))]

    def _cut(self, source: _Source, segment: Segment, rng: np.random.Generator) -> tuple[Tensor, str]:
        """Return views `[V, T, C, S, S]` of a random clip of the segment, and its name."""
        if segment.is_image:
            frames = load_image(segment.location).to(self.config.decode_device).unsqueeze(0)
            views = crop_views(frames, self.views, self.image_size, self.config, rng).expand(
                -1, source.frames, -1, -1, -1
            )
            return views, segment.name
        video = self._pool.get(segment.location)
        # The header may declare more than the file has.
        end_s = min(segment.end_s or video.duration_s, video.duration_s)
        latest_s = end_s - source.span_s
        if latest_s < segment.start_s - 1e-6:
            raise VideoError(
                f"{segment.name} is shorter than the window of {source.span_s:.2f} s: its frames end at {end_s:.2f} s."
            )
        start_s = segment.start_s + rng.random() * max(latest_s - segment.start_s, 0.0)
        views = crop_views(
            video.frames_at(start_s + source.offsets_s), self.views, self.image_size, self.config, rng
        )
        return views, f"{segment.name} @ {start_s:.2f} s"


@dataclass
class _Source:
    """A corpus, ready to draw from; `good [M]`: whether each segment was usable at the scan."""

    path: str
    segments: Segments
    good: np.ndarray
    weight: float
    frames: int
    span_s: float
    offsets_s: np.ndarray


class _Group:
    """Sources whose clips have one length."""

    def __init__(self, sources: list[_Source]) -> None:
        self.sources = sources
        self.frames = sources[0].frames
        self.weight = sum(source.weight for source in sources)
        self.shares = _shares([source.weight for source in sources])
        good = sum(source.weight * source.good.mean() for source in sources) / self.weight
        self.most_draws = math.ceil(_MOST_DRAWS / good)


def _first_of_each(table: Segments) -> np.ndarray:
    """Return the first segment of each file whose segments are episodes of a dataset."""
    rows = np.flatnonzero(table.episode >= 0)
    return rows[np.unique(table.file[rows], return_index=True)[1]]


def _find_videos(path: str) -> Corpus:
    """Find the videos or images at `path`; where it is robot data without video files, say how to make some."""
    try:
        if Path(path).is_file() and Path(path).suffix.lower() in ROBOT_DATA_SUFFIXES:
            raise DataError(f"{path} is no video.")
        return find_videos(path, images=True)
    except DataError as error:
        if not is_trajectories(path):
            raise
        raise DataError(
            f"{path} is robot data without video files. Convert it, and train on the videos of the new dataset: "
            f"vjepa-world convert {shlex.quote(path)} DATASET"
        ) from error


def _shares(weights: list[float]) -> np.ndarray:
    """Return the cumulative sum of the normalised weights."""
    return np.cumsum(weights) / np.sum(weights)


def _drawn(shares: np.ndarray, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(shares, rng.random(), side="right")), len(shares) - 1)
