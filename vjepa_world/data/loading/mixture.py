"""A weighted mixture of corpora, and the clips that are drawn from it.

Shapes: V views of a clip, T frames of a view, C = 3 channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vjepa_world.data.config import SourceConfig, VideoDataConfig
from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.corpus.corpus import clip_span_s, find_videos
from vjepa_world.data.corpus.images import load_image
from vjepa_world.data.corpus.segments import Segment, Segments
from vjepa_world.data.loading.transforms import crop_views
from vjepa_world.data.video.backends import check_decode_device, find_backend
from vjepa_world.data.video.pool import VideoPool
from vjepa_world.data.video.reader import VideoError
from vjepa_world.errors import DataError

logger = logging.getLogger(__name__)

# What a random number is for; each use has a stream of its own.
_GROUP, _SEGMENT, _CLIP = range(3)

#: Draws for one entry, times the share of segments that were good at the scan: all miss with a chance of exp(-this).
_MOST_DRAWS = 40.0
_NAMED = 3  # reasons in an error


class BadClip(NamedTuple):
    """What could not be read: its name, the reason, and how many rows of its source it stands for."""

    name: str
    reason: str
    rows: int


class Clip(NamedTuple):
    """One entry of a batch.

    Attributes:
        frames: uint8 [V,T,C,S,S].
        name: its file and place, "FILE @ 3.25 s".
        label: "" where the corpus has none.
        bad: the files that were drawn before and could not be read.
    """

    frames: Tensor
    name: str
    label: str
    bad: tuple[BadClip, ...]


#: Told the number of an attempt and the file's name before it is read; returns why it cannot be, if that is known.
Watch = Callable[[int, str], str | None]


class ClipMixture(Dataset[Clip]):
    """Random clips of several corpora: entry e of step s depends on (seed, s, e) only, so any process may make it.

    All clips of a step have one length: sources of one number of frames make a group, and a step draws its group, then
    each entry its source, both by weight. A segment of the source is drawn uniformly, then a start time, and for each
    view one crop box and flip for all its frames. A file that cannot be read is named in the clip, and another segment
    is drawn with the next attempt's numbers; so what is drawn depends on the files alone, not on when, or by which
    process, one was found bad.

    Args:
        config: see `VideoDataConfig`.
        num_frames: T, where a source does not say.
        image_size: S.
        seed: chooses all clips.
        views: V, independent crops and flips of the same frames.

    Attributes:
        bad: the files that were found bad before the first step.
        total: how many there are, good and bad.

    Raises:
        DataError: a source has no usable video, or more than `max_bad_fraction` bad ones.
        ConfigError: `decode_device` is not there.
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
        # What this process has met; the account of the run is the loader's.
        self._met = BadFiles(config.max_bad_fraction, quiet=True)
        self._met.include(self.bad)
        self._pool = VideoPool(
            config.open_videos, memory_bytes=round(config.memory_gb * 1e9), device=config.decode_device
        )

    def _source(self, name: str, config: SourceConfig) -> _Source:
        corpus = find_videos(config.path, images=True)
        span_s = clip_span_s(config.frames_per_clip, config.fps)
        segments, good, bad = corpus.fitted(span_s, self.config.max_bad_fraction, self.config.timeout_s)
        self.bad.include(bad)  # logged already
        self.total += corpus.total
        logger.info(
            "%d segments to cut clips from in %s%s", good.sum(), config.path, f" ({name})" if name else ""
        )
        if not good.any():
            raise DataError(f"{config.path} has no segment that a clip of {span_s:.2f} s can be cut from.")
        if not segments.image[good].all():
            find_backend()  # once, before there are processes, each of which would log the fallback
        # All are drawn from, so that one that turns bad later moves no other's turn.
        return _Source(
            path=config.path,
            segments=segments,
            good=good,
            weight=config.weight,
            frames=config.frames_per_clip,
            span_s=span_s,
            offsets_s=np.arange(config.frames_per_clip) / config.fps,
        )

    def __len__(self) -> int:
        """Return the number of usable segments; any step and entry can be drawn."""
        return self.total - len(self.bad)

    def shape(self, step: int) -> tuple[int, int, int, int, int]:
        """Return [V,T,C,S,S] of the clips of a step."""
        return self._shape(self._group(step).frames)

    @property
    def largest_shape(self) -> tuple[int, int, int, int, int]:
        """Return [V,T,C,S,S] of the longest clips."""
        return self._shape(max(group.frames for group in self._groups))

    def _shape(self, frames: int) -> tuple[int, int, int, int, int]:
        return self.views, frames, 3, self.image_size, self.image_size

    def __getitem__(self, index: tuple[int, int]) -> Clip:
        """Return entry `index[1]` of step `index[0]`.

        Raises:
            DataError: too many files turned out bad.
        """
        return self.clip(*index)

    def clip(self, step: int, entry: int, watch: Watch | None = None) -> Clip:
        """Return entry `entry` of step `step`; `watch` is told of each file before it is read.

        Raises:
            DataError: too many files turned out bad.
        """
        group = self._group(step)
        bad: list[BadClip] = []
        for attempt in range(group.most_draws):
            # Neighbours share the draw of a video; one that cannot be read is replaced for each on its own.
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
        """Return why no clip was found, although there were good segments at the scan."""
        reasons = dict.fromkeys(clip.reason for clip in bad)
        listed = [
            *list(reasons)[:_NAMED],
            *([f"... and {len(reasons) - _NAMED} more"] if len(reasons) > _NAMED else []),
        ]
        return (
            f"No clip of {group.frames} frames could be read in {group.most_draws} draws from "
            f"{', '.join(source.path for source in group.sources)}: nearly all that was usable at the start has turned "
            "bad. Check that disk, then go on with resume=true:\n  " + "\n  ".join(listed)
        )

    def _rng(self, use: int, *numbers: int) -> np.random.Generator:
        return np.random.default_rng((use, self.seed, *numbers))

    def _group(self, step: int) -> _Group:
        if len(self._groups) == 1:
            return self._groups[0]
        return self._groups[_drawn(self._group_shares, self._rng(_GROUP, step))]

    def _cut(self, source: _Source, segment: Segment, rng: np.random.Generator) -> tuple[Tensor, str]:
        """Return views [V,T,C,S,S] of a random clip of the segment, and its name."""
        if segment.is_image:
            frames = load_image(segment.location).to(self.config.decode_device).unsqueeze(0)
            views = crop_views(frames, self.views, self.image_size, self.config, rng).expand(
                -1, source.frames, -1, -1, -1
            )
            return views, segment.name
        video = self._pool.get(segment.location)
        # The header that the corpus was checked by may promise more than the file has.
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
    """A corpus, ready to draw from; `good` says of each segment whether it was usable at the scan."""

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


def _shares(weights: list[float]) -> np.ndarray:
    """Return the running sum of the weights, which ends with 1."""
    return np.cumsum(weights) / np.sum(weights)


def _drawn(shares: np.ndarray, rng: np.random.Generator) -> int:
    return min(int(np.searchsorted(shares, rng.random(), side="right")), len(shares) - 1)
