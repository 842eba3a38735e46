"""Clips for pretraining: cut out of a corpus by time, deterministically.

Shapes: T frames of a clip, C = 3 channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from vjepa_world.data.corpus import Segment, clip_span_s, find_videos
from vjepa_world.data.transforms import crop_resize, sample_crop
from vjepa_world.data.video import VideoError
from vjepa_world.data.video_pool import VideoPool
from vjepa_world.errors import ConfigError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ClipConfig:
    """What clips are made of.

    Args:
        path: folder, glob, file, CSV list or LeRobotDataset, see `find_videos`.
        fps: frames a second of a clip, whatever the file's own rate.
        frames_per_clip: T.
        image_size: S.
        crop_scale: share of the image's area that a crop takes, least and most.
        crop_ratio: width / height of a crop, least and most.
        flip: probability that a clip is mirrored.
        max_bad_fraction: share of unusable videos above which the run stops.

    Raises:
        ConfigError: a value outside its range.
    """

    path: str
    fps: float = 4.0
    frames_per_clip: int = 16
    image_size: int = 128
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5
    max_bad_fraction: float = 0.2

    def __post_init__(self) -> None:
        low, high = self.crop_scale
        narrow, wide = self.crop_ratio
        rules = {
            "data.fps": (self.fps, self.fps > 0, "more than 0"),
            "data.frames_per_clip": (self.frames_per_clip, self.frames_per_clip >= 1, "at least 1"),
            "data.image_size": (self.image_size, self.image_size >= 1, "at least 1"),
            "data.crop_scale": (self.crop_scale, 0 < low <= high <= 1, "two shares, 0 < least <= most <= 1"),
            "data.crop_ratio": (self.crop_ratio, 0 < narrow <= wide, "two ratios, 0 < least <= most"),
            "data.flip": (self.flip, 0 <= self.flip <= 1, "from 0 to 1"),
            "data.max_bad_fraction": (self.max_bad_fraction, 0 <= self.max_bad_fraction <= 1, "from 0 to 1"),
        }
        for key, (value, good, allowed) in rules.items():
            if not good:
                raise ConfigError(f"{key} is {value}, allowed is {allowed}. Change it.")


class ClipDataset(Dataset[Tensor]):
    """Random clips: item `i` depends on `seed` and `i` only, so any process may make it, in any order.

    A segment is drawn uniformly, then a start time, then one crop box for the whole clip. A file that turns out
    bad while training is named and counted, and another segment is drawn; too many stop the run. Each loader
    process keeps its own account.

    Args:
        config: see `ClipConfig`.
        seed: chooses all clips.
        num_clips: the length of the dataset; None means one clip a segment. Indices beyond it work too.
        open_videos: how many files each process keeps open.
        memory_bytes: how much each process may spend on whole decoded files.

    Raises:
        DataError: no video, or too many bad ones (also from `__getitem__`).
    """

    def __init__(
        self,
        config: ClipConfig,
        *,
        seed: int,
        num_clips: int | None = None,
        open_videos: int = 16,
        memory_bytes: int = 0,
    ) -> None:
        self.config = config
        self.seed = seed
        self._span_s = clip_span_s(config.frames_per_clip, config.fps)
        corpus = find_videos(config.path)
        self.segments, self.bad = corpus.usable(self._span_s, config.max_bad_fraction)
        self._num_found = len(corpus.segments)
        self._num_clips = len(self.segments) if num_clips is None else num_clips
        self._pool = VideoPool(open_videos, memory_bytes=memory_bytes)
        self._offsets_s = np.arange(config.frames_per_clip) / config.fps
        logger.info("%d segments to cut clips from in %s", len(self.segments), config.path)

    def __len__(self) -> int:
        return self._num_clips

    def __getitem__(self, index: int) -> Tensor:
        """Return clip `index`, uint8 [T,C,S,S]."""
        attempt = 0
        while True:
            # Each attempt has numbers of its own: what is drawn does not depend on when a file was found bad.
            rng = np.random.default_rng((self.seed, index, attempt))
            segment = self.segments[rng.integers(len(self.segments))]
            if segment.name not in self.bad:
                try:
                    return self._clip(segment, rng)
                except VideoError as error:
                    self.bad.add(segment.name, str(error))
                    self.bad.check(self._num_found)
            attempt += 1

    def _clip(self, segment: Segment, rng: np.random.Generator) -> Tensor:
        video = self._pool.get(segment.path)
        # The header that the corpus was checked by may promise more than the file has.
        end_s = min(segment.end_s or video.duration_s, video.duration_s)
        latest_s = end_s - self._span_s
        if latest_s < segment.start_s - 1e-6:
            raise VideoError(
                f"{segment.name} is shorter than the window of {self._span_s:.2f} s: its frames end at {end_s:.2f} s."
            )
        start_s = segment.start_s + rng.random() * max(latest_s - segment.start_s, 0.0)
        frames = video.frames_at(start_s + self._offsets_s)
        config = self.config
        crop = sample_crop(
            frames.shape[2],
            frames.shape[3],
            rng,
            scale=config.crop_scale,
            ratio=config.crop_ratio,
            flip=config.flip,
        )
        return crop_resize(frames, crop, config.image_size)
