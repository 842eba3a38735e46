"""The datasets of a fine-tuning: their windows, the held-out episodes, and the windows of each step.

Legend: B windows, T frames, N tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.training_record import UsedEpisodes
from vjepa_world.data.trajectories.config import TrajectoryDataConfig, TrajectorySourceConfig
from vjepa_world.data.trajectories.registry import open_trajectories
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import EpisodeNumbers, WindowTable, read_episodes
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.training.engine.step_draw import step_generator

#: Step numbers for what is drawn besides the windows of the steps.
_SPLIT, _HELD_OUT = 7_919, 104_729


class FeatureSource(Protocol):
    """The frozen features of a dataset's frames; see `data.features.FeatureStore`."""

    def gather(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return features `[B, T, N, D]` of episodes, int64 `[B]`, and rows, int64 `[B, T]`, one camera per window."""
        ...

    def thumbnails(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return small images, uint8 `[B, T, 3, s, s]`; arguments as in :meth:`gather`."""
        ...


@dataclass(frozen=True, kw_only=True)
class TrajectorySource:
    """One dataset with its windows.

    Attributes:
        name: Its name in the run.
        embodiment: Name of its robot.
        weight: How often it is drawn, relative to the other sources.
        cameras: The cameras that are used.
        dataset: The episodes.
        table: All windows.
        train: Indices of the M windows to train on, int64 `[M]`.
        held_out: Indices of the H windows of the held-out episodes, int64 `[H]`.
        held_out_episodes: Indices of these episodes in the dataset.
        bad: The unusable episodes.
    """

    name: str
    embodiment: str
    weight: float
    cameras: tuple[str, ...]
    dataset: TrajectoryDataset
    table: WindowTable
    train: Tensor
    held_out: Tensor
    held_out_episodes: tuple[int, ...]
    bad: BadFiles

    def episodes(self, windows: Tensor) -> Tensor:
        """Return the indices in the dataset of the episodes of `windows [B]`, int64 `[B]`."""
        return self.table.indices[windows]

    def without(self, episodes: Collection[int]) -> TrajectorySource:
        """Return the source without the windows of some episodes (indices in the dataset).

        Raises:
            DataError: No window is left to train on, or none that is held out.
        """
        if not episodes:
            return self
        gone = torch.tensor(sorted(episodes))
        train, held_out = (w[~torch.isin(self.episodes(w), gone)] for w in (self.train, self.held_out))
        if not len(train) or not len(held_out):
            raise DataError(
                f"{self.dataset.path}: without its {len(episodes)} episodes whose frames cannot be read, {len(train)} "
                f"windows are left to train on and {len(held_out)} to hold out; repair them, or give more episodes."
            )
        return replace(self, train=train, held_out=held_out)

    def names(self, windows: Tensor) -> list[str]:
        """Return a name for each window of int64 `[B]`."""
        rows = self.table.rows[windows]
        return [
            f"{self.table.source[int(episode)].name}, rows {int(first)} to {int(last)}"
            for episode, first, last in zip(
                self.table.episodes[windows], rows[:, 0], rows[:, -1], strict=True
            )
        ]


@dataclass(frozen=True)
class WindowDraw:
    """Which windows of which source.

    Attributes:
        source: Index of the source.
        windows: Indices of its windows, int64 `[B]`.
        cameras: For each window the camera that is used, or all of them.
        keys: Seed of each window's augmentation, int64 `[B]`.
    """

    source: int
    windows: Tensor
    cameras: tuple[tuple[str, ...], ...]
    keys: Tensor

    def rows(self, indices: Sequence[int]) -> WindowDraw:
        """Return the windows at these positions."""
        rows = list(indices)
        cameras = tuple(self.cameras[row] for row in rows)
        return WindowDraw(self.source, self.windows[rows], cameras, self.keys[rows])


def open_sources(
    config: TrajectoryDataConfig,
    *,
    seed: int,
    dataset: TrajectoryDataset | None = None,
    camera: str | None = None,
) -> list[TrajectorySource]:
    """Open all datasets of a run, read their states and actions, and hold out a share of each one's episodes.

    Args:
        config: The datasets, and how windows are cut.
        seed: Decides which episodes are held out.
        dataset: An open dataset instead of those that `config` names.
        camera: What to call the only camera, instead of a camera of the dataset: where images are not read.

    Raises:
        ConfigError: No dataset is given, or one both ways.
        DataError: A dataset is missing, broken, too small, or lacks a camera.
    """
    if dataset is None:
        named = config.all_sources()
        opened = {
            name: open_trajectories(source.path, convention=source.convention, **source.reader)
            for name, source in named.items()
        }
    elif config.path or config.sources:
        raise ConfigError(
            f"a dataset is given, and data.path is '{config.path}'; leave data.path and data.sources out."
        )
    else:
        named = replace(config, path=str(dataset.path)).all_sources()
        opened = dict.fromkeys(named, dataset)
    return [_source(name, opened[name], source, config, seed, camera) for name, source in named.items()]


def _source(
    name: str,
    dataset: TrajectoryDataset,
    source: TrajectorySourceConfig,
    config: TrajectoryDataConfig,
    seed: int,
    camera: str | None,
) -> TrajectorySource:
    cameras = _cameras(dataset, source.cameras, config.views) if camera is None else (camera,)
    episodes, bad = read_episodes(dataset, max_bad_fraction=config.max_bad_fraction)
    return make_source(
        dataset,
        episodes,
        bad,
        name=name,
        embodiment=source.embodiment,
        weight=source.weight,
        cameras=cameras,
        frames=config.frames,
        fps=source.fps,
        val_fraction=config.val_fraction,
        seed=seed,
    )


def make_source(
    dataset: TrajectoryDataset,
    episodes: Sequence[EpisodeNumbers],
    bad: BadFiles,
    *,
    name: str,
    embodiment: str,
    weight: float,
    cameras: tuple[str, ...],
    frames: int,
    fps: float,
    val_fraction: float,
    seed: int,
) -> TrajectorySource:
    """Cut windows, and hold out `val_fraction` of the episodes, at least one, drawn by the seed.

    Raises:
        DataError: No window is left to train on, or none to hold out.
    """
    table = WindowTable(episodes, frames=frames, fps=fps)
    count = min(max(round(val_fraction * len(episodes)), 1), len(episodes))
    order = torch.randperm(len(episodes), generator=step_generator(seed, _SPLIT)).tolist()
    held_out = sorted(order[:count])
    windows = table.of_episodes(held_out), table.of_episodes(sorted(order[count:]))
    if not all(len(part) for part in windows):
        raise DataError(
            f"{dataset.path}: {len(episodes)} episodes leave {len(windows[1])} windows of {frames} frames to train on "
            f"and {len(windows[0])} to hold out; both are needed: give more or longer episodes, or a smaller "
            "data.frames."
        )
    return TrajectorySource(
        name=name,
        embodiment=embodiment,
        weight=weight,
        cameras=cameras,
        dataset=dataset,
        table=table,
        train=windows[1],
        held_out=windows[0],
        held_out_episodes=tuple(episodes[number].index for number in held_out),
        bad=bad,
    )


def _cameras(dataset: TrajectoryDataset, wanted: tuple[str, ...], views: str) -> tuple[str, ...]:
    """Return the cameras that are used: the named ones, else the first, else all for `views=all`."""
    there = dataset.cameras
    missing = [name for name in wanted if name not in there]
    if missing or not there:
        what = f"has no camera '{missing[0]}'" if missing else "has no images"
        left_out = [f"{name} ({reason})" for name, reason in dataset.about.get("left_out", {}).items()]
        unread = f" Not read: {'; '.join(left_out[:5])}." if left_out else ""
        raise DataError(
            f"{dataset.path} {what}; its cameras: {', '.join(there) or 'none'}.{unread} Change data.cameras."
        )
    return wanted or (there if views == "all" else there[:1])


def draw_step(
    sources: Sequence[TrajectorySource],
    *,
    seed: int,
    step: int,
    count: int,
    views: str,
    in_pairs: bool = False,
) -> WindowDraw:
    """Return the `count` windows of a step: of one source, drawn by weight. Depends on seed and step alone.

    With `in_pairs` every second window is another one of the same episode as the window before, from the same camera.
    """
    generator = step_generator(seed, step)
    weights = torch.tensor([source.weight for source in sources], dtype=torch.float64)
    number = int(torch.multinomial(weights, 1, generator=generator)) if len(sources) > 1 else 0
    source = sources[number]
    windows = source.train[torch.randint(len(source.train), (count,), generator=generator)]
    cameras = _draw_cameras(source, count, views, generator)
    draw = WindowDraw(number, windows, cameras, step * count + torch.arange(count))
    return _in_pairs(draw, source, source.train, generator) if in_pairs else draw


def draw_held_out(
    source: TrajectorySource, number: int, *, seed: int, count: int, views: str, in_pairs: bool = False
) -> WindowDraw:
    """Return at most `count` windows of a source's held-out episodes, the same ones each time.

    `in_pairs` is as in :func:`draw_step`.
    """
    generator = step_generator(seed, _HELD_OUT)
    windows = source.held_out[torch.randperm(len(source.held_out), generator=generator)[:count]]
    cameras = _draw_cameras(source, len(windows), views, generator)
    draw = WindowDraw(number, windows, cameras, torch.arange(len(windows)))
    return _in_pairs(draw, source, source.held_out, generator) if in_pairs else draw


def _in_pairs(
    draw: WindowDraw, source: TrajectorySource, allowed: Tensor, generator: torch.Generator
) -> WindowDraw:
    """Return a draw whose every second window is one of `allowed` from the episode of the window before.

    Camera and augmentation are then those of the window before, too.
    """
    count = len(draw.windows) // 2
    allowed = allowed.sort().values  # windows are numbered episode by episode
    of_allowed, wanted = source.table.episodes[allowed], source.table.episodes[draw.windows[0::2][:count]]
    first = torch.searchsorted(of_allowed, wanted)
    last = torch.searchsorted(of_allowed, wanted, right=True)
    chosen = first + (torch.rand(count, generator=generator) * (last - first)).long()
    windows, keys = draw.windows.clone(), draw.keys.clone()
    windows[1::2], keys[1::2] = allowed[chosen], keys[0::2][:count]
    cameras = tuple(draw.cameras[row - row % 2] for row in range(len(windows)))
    return WindowDraw(draw.source, windows, cameras, keys)


def _draw_cameras(
    source: TrajectorySource, count: int, views: str, generator: torch.Generator
) -> tuple[tuple[str, ...], ...]:
    if views == "all" or len(source.cameras) == 1:
        return (source.cameras,) * count
    drawn = torch.randint(len(source.cameras), (count,), generator=generator).tolist()
    return tuple((source.cameras[camera],) for camera in drawn)


def used_episodes(source: TrajectorySource) -> UsedEpisodes:
    """Return which episodes of a source are trained on and which are held out, for a checkpoint to record."""
    held_out = set(source.held_out_episodes)
    prints = {episode.index: episode.fingerprint for episode in source.table.source}
    return UsedEpisodes(
        source.dataset,
        trained={index: text for index, text in prints.items() if index not in held_out},
        held_out={index: text for index, text in prints.items() if index in held_out},
    )


def held_out_by_path(sources: Sequence[TrajectorySource]) -> Mapping[str, list[int]]:
    """Return which episodes of which dataset were not trained on, for a checkpoint to record."""
    return {str(Path(source.dataset.path)): list(source.held_out_episodes) for source in sources}
