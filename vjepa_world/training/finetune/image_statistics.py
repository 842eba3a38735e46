"""What the pictures look like that a world model is trained on, so that others can be told from them later."""

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

#: Training episodes of each dataset whose first and middle frames are looked at.
EPISODES = 16


def training_images(sources: Sequence[TrajectorySource]) -> ImageStatistics:
    """Return the statistics of some frames of all datasets, of episodes far from one another.

    Unreadable episodes are passed over here: reading windows counts and names them.
    """
    frames = [seen for source in sources for seen in _frames(source)]
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
            logger.info("its pictures are not among those that are described: %s", error)
