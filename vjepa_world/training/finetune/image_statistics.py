"""Statistics of the images that a world model is trained on, by which unlike images are recognised later."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from vjepa_world.errors import VJEPAWorldError
from vjepa_world.models.config import ImageStatistics
from vjepa_world.models.input_range import SIZE, image_statistics
from vjepa_world.ops.pixels import resize_frames
from vjepa_world.training.finetune.trajectory_sources import TrajectorySource

logger = logging.getLogger(__name__)

#: Training episodes of each dataset whose first and middle frames are read.
EPISODES = 16


def training_images(sources: Sequence[TrajectorySource]) -> ImageStatistics:
    """Return the statistics of some frames of all datasets, of evenly spaced episodes.

    Unreadable episodes are skipped: they are counted and named where windows are read.
    """
    frames = [frame for source in sources for frame in _frames(source)]
    return image_statistics(torch.cat(frames)) if frames else ImageStatistics()


def _frames(source: TrajectorySource) -> Iterator[Tensor]:
    episodes = source.episodes(source.train).unique().tolist()
    step = max(len(episodes) // EPISODES, 1)
    for index in episodes[::step][:EPISODES]:
        try:
            episode = source.dataset.episode(index)
            rows = sorted({0, len(episode.states) // 2})
            for camera in source.cameras:
                yield resize_frames(episode.frames(rows, camera), SIZE)
        except VJEPAWorldError as error:
            logger.info("an episode is left out of the image statistics: %s", error)
