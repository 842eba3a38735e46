"""Labelled clips: videos with a class each, or rows of a trajectory dataset with numbers.

Legend: M clips, K numbers that are regressed, G videos or episodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.labels import labelled_videos
from vjepa_world.data.loading.clip_tables import ClipTable, EpisodeClips, VideoClips
from vjepa_world.data.trajectories.formats.lerobot.metadata import LeRobotMeta, is_lerobot
from vjepa_world.data.trajectories.formats.lerobot.numeric_columns import numeric_columns, open_column
from vjepa_world.errors import ConfigError
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.training.probe.data import class_numbers, split_classes, split_episodes


@dataclass(frozen=True)
class LabelledClips:
    """Clips with their targets.

    Attributes:
        clips: The clips.
        targets: Classes, int64 `[M]`, or numbers `[M, K]`.
        labels: Names of the classes, or of the numbers.
        split: Indices of the videos or episodes of each part, int64.
    """

    clips: ClipTable
    targets: Tensor
    labels: tuple[str, ...]
    split: dict[str, Tensor]


@dataclass(frozen=True)
class Sampling:
    """How clips are taken.

    Attributes:
        shown: Frames, rate, crop and size of a clip.
        clips: Clips of each video or episode.
        val_fraction: Share of the videos that chooses.
        test_fraction: Share of the videos that tests.
        seed: Decides which videos.
    """

    shown: ClipInput
    clips: int
    val_fraction: float
    test_fraction: float
    seed: int


def open_videos(path: str | Path, sampling: Sampling, max_bad_fraction: float) -> LabelledClips:
    """Return the clips of a labelled folder or CSV list of videos.

    Raises:
        DataError: See `labelled_videos`, `class_numbers` and `split_classes`.
    """
    segments, _ = labelled_videos(path, max_bad_fraction)
    classes, names = class_numbers([segment.label for segment in segments])
    split = split_classes(classes, names, sampling.val_fraction, sampling.test_fraction, sampling.seed)
    clips = VideoClips(segments, sampling.shown, sampling.clips)
    return LabelledClips(clips, classes[torch.from_numpy(clips.groups)], names, split)


def open_episodes(path: str | Path, target: str, sampling: Sampling) -> LabelledClips:
    """Return clips of a LeRobot dataset, each with the numbers of column `target` at its last frame.

    Raises:
        DataError: If there is no such numeric column, or too few or too short episodes.
    """
    dataset, column = open_column(path, target)
    clips = EpisodeClips(dataset, sampling.shown, sampling.clips)
    split = split_episodes(dataset.num_episodes, sampling.val_fraction, sampling.test_fraction, sampling.seed)
    values = [
        column.values(dataset, episode)[clips.rows[clips.groups == episode]]
        for episode in range(dataset.num_episodes)
    ]
    return LabelledClips(clips, torch.from_numpy(np.concatenate(values)), column.names, split)


def check_target(path: str | Path, target: str) -> bool:
    """Return whether `path` is a trajectory dataset, of which a column is regressed.

    Raises:
        ConfigError: If it is one and no column is named, or it is not and one is.
    """
    if not is_lerobot(path):
        if target and not Path(path).exists():
            raise ConfigError(
                f"{path} does not exist; expected the LeRobot dataset that target={target} is of."
            )
        if target:
            raise ConfigError(
                f"target '{target}' names a column of a LeRobot dataset, but {path} is not one; leave target out to "
                "classify videos."
            )
        return False
    if not target:
        columns = ", ".join(numeric_columns(LeRobotMeta(path)))
        raise ConfigError(
            f"{path} is a LeRobot dataset: say with target= which of its numbers to regress, such as "
            f"target=observation.state[0:3]. Numeric columns: {columns}."
        )
    return True
