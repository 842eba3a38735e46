"""Batches of windows: from the feature cache, or decoded at every step.

Legend: B windows, T frames, C = 3 channels, H W pixels, V views, N frozen tokens per frame (all views), D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vjepa_world.data.loading.transforms import crop_resize, sample_crop
from vjepa_world.errors import DataError
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.ops.pixels import resize_frames
from vjepa_world.training.finetune.trajectory_sources import FeatureSource, TrajectorySource, WindowDraw


@dataclass(frozen=True, kw_only=True)
class WindowBatch:
    """Windows of one source.

    Attributes:
        embodiment: Name of the robot.
        features: Frozen features `[B, T, N, D]`, or None.
        frames: Camera images uint8 `[B, T, C, H, V*W]`; None where there are features.
        images: Small images for the decoder, uint8 `[B, T, 3, s, V*s]`, or None.
        actions: `[B, T-1, A]`.
        states: `[B, T, S]`.
        extrinsics: Pose of the camera in the robot's base, `[B, T, 6]`, or None.
        names: A name for each window.
        episodes: Index of each window's episode in its dataset, int64 `[B]`.
    """

    embodiment: str
    features: Tensor | None
    frames: Tensor | None
    images: Tensor | None
    actions: Tensor
    states: Tensor
    extrinsics: Tensor | None
    names: tuple[str, ...]
    episodes: Tensor


class WindowReader(Protocol):
    """Turns draws into batches."""

    def read(self, draw: WindowDraw) -> WindowBatch:
        """Read the windows of a draw."""
        ...

    def stream(self, draws: Iterator[WindowDraw]) -> Iterator[WindowBatch]:
        """Read the windows of several draws, in advance where it can."""
        ...


def _fields(sources: Sequence[TrajectorySource], draw: WindowDraw, *, extrinsics: bool) -> dict[str, object]:
    """Return the fields of a batch that are neither images nor features."""
    source = sources[draw.source]
    states, actions = source.table.states_and_actions(draw.windows)
    first = [cameras[0] for cameras in draw.cameras]
    return {
        "embodiment": source.embodiment,
        "actions": actions,
        "states": states,
        "extrinsics": source.table.extrinsics(draw.windows, first) if extrinsics else None,
        "names": tuple(source.names(draw.windows)),
        "episodes": source.episodes(draw.windows),
    }


class CachedWindows:
    """Reads windows from the feature caches.

    Args:
        sources: The datasets.
        stores: The features of each.
        side: Tokens along a side of one view, as they are cached.
        images: Whether to read small images.
        extrinsics: Whether to read the cameras' poses.
    """

    def __init__(
        self,
        sources: Sequence[TrajectorySource],
        stores: Sequence[FeatureSource],
        *,
        side: int,
        images: bool,
        extrinsics: bool,
    ) -> None:
        self.sources, self.stores, self.side = sources, stores, side
        self.images, self.extrinsics = images, extrinsics

    def read(self, draw: WindowDraw) -> WindowBatch:
        """See :class:`WindowReader`."""
        source, store = self.sources[draw.source], self.stores[draw.source]
        episodes, rows = source.episodes(draw.windows).numpy(), source.table.rows[draw.windows].numpy()
        views = list(zip(*draw.cameras, strict=True))  # one camera per window, view by view
        features = [store.gather(episodes, rows, cameras) for cameras in views]
        images = [store.thumbnails(episodes, rows, cameras) for cameras in views] if self.images else []
        return WindowBatch(
            features=side_by_side(features, self.side).float(),
            frames=None,
            images=torch.cat(images, dim=-1) if images else None,
            **_fields(self.sources, draw, extrinsics=self.extrinsics),  # type: ignore[arg-type]
        )

    def stream(self, draws: Iterator[WindowDraw]) -> Iterator[WindowBatch]:
        """See :class:`WindowReader`; nothing is read in advance."""
        return (self.read(draw) for draw in draws)


def side_by_side(views: Sequence[Tensor], side: int) -> Tensor:
    """Join the tokens of V views row by row: V of `[..., side*side, D]` to `[..., side*V*side, D]`."""
    if len(views) == 1:
        return views[0]
    grids = [view.unflatten(-2, (side, -1)) for view in views]
    return torch.cat(grids, dim=-2).flatten(-3, -2)


@dataclass(frozen=True)
class Augmentation:
    """Random crop and colours, the same in all frames of a window: see `data.crop_scale` and `data.color_jitter`."""

    crop_scale: tuple[float, float] = (1.0, 1.0)
    color_jitter: float = 0.0

    def __call__(self, frames: Tensor, preprocessing: Preprocessing, rng: np.random.Generator) -> Tensor:
        """Return uint8 `[T, C, H, W]` in the encoder's size, `[T, C, S, S]`."""
        if self.crop_scale != (1.0, 1.0):
            height, width = frames.shape[-2:]
            aspect = width / height
            crop = sample_crop(height, width, rng, scale=self.crop_scale, ratio=(aspect, aspect), flip=0.0)
            frames = crop_resize(frames, crop, preprocessing.size)
        else:
            frames = preprocessing.fit(frames)
        if self.color_jitter:
            gain = torch.from_numpy(rng.uniform(1 - self.color_jitter, 1 + self.color_jitter, (3, 1, 1)))
            frames = (frames * gain).round().clamp(0, 255).byte()
        return frames


class DecodedWindows:
    """Decodes windows at every step, in worker processes.

    A window that cannot be decoded is left out of its batch, and its episode is counted as bad.

    Args:
        sources: The datasets.
        preprocessing: How the frames of a view become the encoder's input.
        small_size: Size of the small images for the decoder [pixels]; 0 for none.
        augmentation: Augmentation of the training images.
        extrinsics: Whether to read the cameras' poses.
        seed: Seed of the augmentation.
        workers: Worker processes.
    """

    def __init__(
        self,
        sources: Sequence[TrajectorySource],
        *,
        preprocessing: Preprocessing,
        small_size: int,
        augmentation: Augmentation,
        extrinsics: bool,
        seed: int,
        workers: int,
    ) -> None:
        self.sources, self.preprocessing, self.small_size = sources, preprocessing, small_size
        self.augmentation, self.extrinsics, self.seed, self.workers = augmentation, extrinsics, seed, workers

    def read(self, draw: WindowDraw) -> WindowBatch:
        """See :class:`WindowReader`; nothing is augmented."""
        windows = _Windows(self.sources, self.preprocessing, Augmentation(), self.seed)
        return self._batch(draw, [windows.load(*entry) for entry in _entries(draw)])

    def stream(self, draws: Iterator[WindowDraw]) -> Iterator[WindowBatch]:
        """See :class:`WindowReader`."""
        waiting: list[WindowDraw] = []

        def entries() -> Iterator[list[_Entry]]:
            for draw in draws:
                waiting.append(draw)
                yield _entries(draw)

        loader = DataLoader(
            _Windows(self.sources, self.preprocessing, self.augmentation, self.seed),
            batch_sampler=entries(),
            collate_fn=list,
            num_workers=self.workers,
            prefetch_factor=2 if self.workers else None,
        )
        for loaded in loader:
            yield self._batch(waiting.pop(0), loaded)

    def _batch(self, draw: WindowDraw, loaded: Sequence[Tensor | str]) -> WindowBatch:
        source = self.sources[draw.source]
        good = [row for row, frames in enumerate(loaded) if not isinstance(frames, str)]
        for episode, frames in zip(source.episodes(draw.windows).tolist(), loaded, strict=True):
            if isinstance(frames, str):
                source.bad.add(f"{source.dataset.path} episode {episode}", frames)
        source.bad.check(source.dataset.num_episodes)
        if not good:
            raise DataError(
                f"none of a step's {len(loaded)} windows of {source.dataset.path} is readable: {loaded[0]}"
            )
        frames = torch.stack([frames for frames in loaded if isinstance(frames, Tensor)])
        images = None
        if self.small_size:
            views = frames.flatten(0, 1).split(self.preprocessing.size, dim=-1)
            small = [resize_frames(view, self.small_size) for view in views]
            images = torch.cat(small, dim=-1).unflatten(0, frames.shape[:2])
        return WindowBatch(
            features=None,
            frames=frames,
            images=images,
            **_fields(self.sources, draw.rows(good), extrinsics=self.extrinsics),  # type: ignore[arg-type]
        )


#: Source, window, cameras and key of a window that a worker process decodes.
_Entry = tuple[int, int, tuple[str, ...], int]


def _entries(draw: WindowDraw) -> list[_Entry]:
    each = zip(draw.windows.tolist(), draw.cameras, draw.keys.tolist(), strict=True)
    return [(draw.source, window, cameras, key) for window, cameras, key in each]


class _Windows(Dataset[Tensor | str]):
    """Decodes windows; one that cannot be decoded becomes the reason, a text."""

    def __init__(
        self,
        sources: Sequence[TrajectorySource],
        preprocessing: Preprocessing,
        augmentation: Augmentation,
        seed: int,
    ) -> None:
        self.datasets = [source.dataset for source in sources]
        self.rows = [source.table.rows for source in sources]
        self.indices = [source.table.indices for source in sources]
        self.preprocessing, self.augmentation, self.seed = preprocessing, augmentation, seed

    def __getitem__(self, entry: _Entry) -> Tensor | str:
        return self.load(*entry)

    def load(self, source: int, window: int, cameras: Sequence[str], key: int) -> Tensor | str:
        """Return the views side by side, uint8 `[T, C, H, V*W]`, or why they cannot be decoded."""
        rng = np.random.default_rng([self.seed, key])
        try:
            trajectory = self.datasets[source].episode(int(self.indices[source][window]))
            rows = self.rows[source][window].numpy()
            views = [trajectory.frames(rows, camera) for camera in cameras]
        except DataError as error:
            return str(error)
        return torch.cat([self.augmentation(view, self.preprocessing, rng) for view in views], dim=-1)
