"""Describes a dataset of trajectories, and finds mistakes in it.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.checks.run import Finding, check_images, check_numbers, worst_first
from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.data.video.reader import probe_video
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.system.progress import track

#: Default number of episodes whose frames are all decoded.
FRAME_EPISODES = 20


@dataclass(frozen=True, kw_only=True)
class FeatureDescription:
    """Statistics of one entry of the state or the action over all episodes that were read."""

    name: str
    low: float
    high: float
    mean: float
    std: float


@dataclass(frozen=True, kw_only=True)
class CameraDescription:
    """A camera's decoded size, 0 x 0 if it cannot be decoded; `codec` is `images` if there is no video."""

    name: str
    width: int
    height: int
    codec: str


@dataclass(frozen=True, kw_only=True)
class DatasetDescription:
    """The content of a dataset, and the findings of the checks.

    Attributes:
        path: Its path.
        format: Name of its format.
        about: Further information from the reader.
        num_episodes: Number of episodes.
        lengths: Number of observations of each usable episode that was read.
        fps: Observations per second.
        tasks: What the robot did, in words, with the number of episodes.
        successes: Number of episodes with known success, and of those that succeeded.
        cameras: Its cameras.
        convention: How its numbers are written, as declared.
        state: Statistics of every entry of the state.
        action: Statistics of every entry of the action.
        findings: Findings of the checks, the worst first.
        frame_episodes: Number of episodes of which every frame was checked.
        bad: Why an episode is unusable, by its index.
    """

    path: str
    format: str
    about: Mapping[str, Any]
    num_episodes: int
    lengths: tuple[int, ...]
    fps: float
    tasks: Mapping[str, int]
    successes: tuple[int, int]
    cameras: tuple[CameraDescription, ...]
    convention: Convention
    state: tuple[FeatureDescription, ...]
    action: tuple[FeatureDescription, ...]
    findings: tuple[Finding, ...]
    frame_episodes: int
    bad: Mapping[int, str]

    @property
    def num_frames(self) -> int:
        """Number of observations of all episodes that were read."""
        return sum(self.lengths)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(replace(self, about=dict(self.about), tasks=dict(self.tasks), bad=dict(self.bad)))


def describe_dataset(
    dataset: TrajectoryDataset, *, convention: Convention | None = None, episodes: int | None = None
) -> DatasetDescription:
    """Read a dataset and check it for mistakes. Unusable episodes are listed, not raised.

    Args:
        dataset: The dataset.
        convention: How its numbers are written; None takes the dataset's.
        episodes: Number of episodes to check, evenly spread; None takes all for the numbers, and `FRAME_EPISODES` for
            the frames.

    Raises:
        ConfigError: `episodes` is less than 1.
    """
    if episodes is not None and episodes < 1:
        raise ConfigError(f"episodes to check is {episodes}; give at least 1.")
    convention = convention or dataset.convention
    good, bad = _read(dataset, _spread(dataset.num_episodes, episodes))
    findings = check_numbers(good, convention, dataset.state_names, dataset.action_names)
    pictured = (
        [good[index] for index in _spread(len(good), episodes or FRAME_EPISODES)] if dataset.cameras else []
    )
    known = [episode.success for episode in good if episode.success is not None]
    return DatasetDescription(
        path=str(dataset.path),
        format=dataset.format,
        about=dataset.about,
        num_episodes=dataset.num_episodes,
        lengths=tuple(len(episode) for episode in good),
        fps=dataset.fps,
        tasks=dict(Counter(task for episode in good for task in episode.tasks).most_common()),
        successes=(len(known), sum(known)),
        cameras=tuple(_camera(good, name) for name in dataset.cameras),
        convention=convention,
        state=_features(dataset.state_names, [episode.states for episode in good]),
        action=_features(dataset.action_names, [episode.actions for episode in good]),
        findings=tuple(worst_first([*findings, *check_images(pictured, dataset.cameras)])),
        frame_episodes=len(pictured),
        bad=bad,
    )


def _spread(total: int, wanted: int | None) -> list[int]:
    """Return `wanted` of `total` indices, evenly spread."""
    count = total if wanted is None else min(total, wanted)
    return [index * total // count for index in range(count)]


def _read(dataset: TrajectoryDataset, indices: Sequence[int]) -> tuple[list[Trajectory], dict[int, str]]:
    good, bad = [], {}
    for index in track(indices, "episodes", unit="episode", delay_s=2.0):
        try:
            episode = dataset.episode(index)
        except DataError as error:
            bad[index] = str(error)
            continue
        # All episodes stay in memory, and of other columns only the length is checked.
        lengths = {name: np.empty((len(values), 0)) for name, values in episode.columns.items()}
        good.append(replace(episode, columns=lengths))
    return good, bad


def _camera(episodes: Sequence[Trajectory], name: str) -> CameraDescription:
    """Return a camera's size and codec in the first episode in which it can be decoded."""
    for episode in episodes:
        try:
            _, height, width = episode.frames([0], name)[0].shape
            piece = episode.videos.get(name)
            codec = "images" if piece is None else probe_video(piece.path).codec
        except DataError:
            continue  # the check of frames reports why
        return CameraDescription(name=name, width=width, height=height, codec=codec)
    return CameraDescription(name=name, width=0, height=0, codec="not readable")


def _features(names: Sequence[str], parts: Sequence[np.ndarray]) -> tuple[FeatureDescription, ...]:
    if not any(len(part) for part in parts):
        return ()
    values = np.concatenate(parts).astype(np.float64)
    return tuple(
        FeatureDescription(
            name=name, low=float(v.min()), high=float(v.max()), mean=float(v.mean()), std=float(v.std())
        )
        for name, v in zip(names, values.T, strict=True)
    )
