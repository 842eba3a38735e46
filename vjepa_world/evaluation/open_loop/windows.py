"""Windows of recorded episodes, drawn from a dataset, decoded once and encoded once.

Legend: W windows, B windows of a batch, T = K + 1 frames, K horizon, N tokens per frame, D width, S state size,
A action size, X extrinsics size, C = 3 channels, H W pixels, V views, M frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.trajectories.trajectory import EVENTS, Trajectory, TrajectoryDataset
from vjepa_world.data.trajectories.windows import WindowTable
from vjepa_world.errors import DataError
from vjepa_world.evaluation.open_loop.protocols import Progress, no_progress
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.models.context import Context
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.ops.pixels import resize_frames
from vjepa_world.planning.action_axes import ActionSpace, action_space

#: Height of the frames that are stored for the report [pixels].
STORED_HEIGHT = 128

#: Frames encoded in one batch.
ENCODER_BATCH = 64


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows of episodes with the encoder's features of every frame.

    Attributes:
        features: Features of every frame, float32 `[W, T, N, D]`.
        states: `[W, T, S]`.
        actions: From each frame to the next, `[W, T-1, A]`.
        episodes: The episode of each window, int64 `[W]`; intervals are over episodes.
        frames: Small frames for the report, uint8 `[W, T, 3, H, W]`.
        extrinsics: Pose of the camera at each frame, `[W, T, X]`, for predictors that use it.
        space: The action space; None derives it from the number of axes.
        labels: What happens at each frame, by name, bool `[W, T]`: those of `EVENTS` that the data has.
    """

    features: Tensor
    states: Tensor
    actions: Tensor
    episodes: Tensor
    frames: Tensor
    extrinsics: Tensor | None = None
    space: ActionSpace | None = None
    labels: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        shape = self.features.shape[:2]
        fits = (
            self.features.ndim == 4
            and self.states.shape[:2] == self.frames.shape[:2] == shape
            and self.actions.shape[:2] == (shape[0], shape[1] - 1)
            and self.episodes.shape == shape[:1]
        )
        if not fits or shape[0] < 2 or shape[1] < 2:
            raise EvaluationError(
                f"windows have features {tuple(self.features.shape)}, states {tuple(self.states.shape)}, actions "
                f"{tuple(self.actions.shape)}, frames {tuple(self.frames.shape)} and {len(self.episodes)} episodes; "
                "allowed are [W, T, N, D], [W, T, S], [W, T-1, A], [W, T, 3, H, W] and W, with at least 2 windows of "
                "at least 2 frames. Give more or longer episodes, or a shorter horizon."
            )

    def __len__(self) -> int:
        return len(self.features)

    @property
    def action_space(self) -> ActionSpace:
        """The action space."""
        return self.space or action_space(self.actions.shape[2])

    @property
    def horizon(self) -> int:
        """K, the number of actions in a window."""
        return self.actions.shape[1]

    def context(self, indices: Tensor, device: torch.device) -> Context:
        """Return the first frames of the windows at `indices [B]` as a context of B problems."""
        cameras = None if self.extrinsics is None else self.extrinsics[indices, :1].to(device)
        return Context(self.features[indices, :1].to(device), self.states[indices, :1].to(device), cameras)

    def batches(self, size: int) -> Iterator[Tensor]:
        """Yield the indices of all windows, int64 `[B]`, `size` at a time."""
        yield from torch.arange(len(self)).split(max(size, 1))


@dataclass(frozen=True, eq=False)
class FrameEncoding:
    """How frames become features.

    Attributes:
        encode: Maps uint8 frames `[M, C, H, V*W]` to features `[M, N, D]`.
        preprocessing: How the frames of a view become the encoder's input.
        cameras: The V cameras that are put side by side.
        extrinsics: Whether the pose of the first camera is read too.
        space: The action space.
    """

    encode: Callable[[Tensor], Tensor]
    preprocessing: Preprocessing
    cameras: Sequence[str]
    extrinsics: bool = False
    space: ActionSpace | None = None


def draw_windows(table: WindowTable, count: int, seed: int) -> Tensor:
    """Return the indices of `count` windows (all, if there are fewer) without repetition, sorted, int64 `[W]`.

    Raises:
        DataError: If there are fewer than two windows.
    """
    if len(table) < 2:
        raise DataError(
            f"{len(table.source)} episodes give {len(table)} windows of {table.frames} frames; at least 2 are needed: "
            "give more or longer episodes, or a smaller open_loop.horizon."
        )
    drawn = torch.randperm(len(table), generator=torch.Generator().manual_seed(seed))
    return drawn[:count].sort().values


def read_windows(
    dataset: TrajectoryDataset,
    table: WindowTable,
    chosen: Tensor,
    encoding: FrameEncoding,
    bad: BadFiles,
    progress: Progress = no_progress,
) -> Windows:
    """Decode and encode the frames of some windows; each frame of an episode is decoded once.

    Args:
        dataset: The episodes.
        table: The rows of each window.
        chosen: Indices of windows of the table, int64 `[W]`.
        encoding: How frames become features.
        bad: Collects episodes whose frames cannot be decoded; their windows are left out.
        progress: Called with the number of windows read.

    Raises:
        DataError: If too many episodes, or all that were drawn, cannot be decoded.
    """
    features, frames, usable, labels = [], [], [], list[dict[str, Tensor]]()
    episodes = table.episodes[chosen]
    for number in episodes.unique().tolist():
        episode, windows = table.source[number], chosen[episodes == number]
        rows, inverse = table.rows[windows].unique(return_inverse=True)
        try:
            recorded = dataset.episode(episode.index)
            decoded = _frames(recorded, rows.numpy(), encoding)
        except DataError as error:
            bad.add(f"{dataset.path} episode {episode.index}", str(error))
            bad.check(len(table.source))
            continue
        encoded = torch.cat([encoding.encode(batch).float().cpu() for batch in decoded.split(ENCODER_BATCH)])
        features.append(encoded[inverse])
        frames.append(_small(decoded, len(encoding.cameras))[inverse])
        usable.append(windows)
        labels.append(_labels(recorded, table.rows[windows]))
        progress(len(windows))
    if not usable:
        raise DataError(
            f"{dataset.path}: the frames of none of the {len(episodes.unique())} episodes that were drawn can be "
            f"read, the first because: {next(iter(bad.reasons.values()))}. Repair them, or give more episodes."
        )
    found = torch.cat(usable)
    states, actions = table.states_and_actions(found)
    cameras = [encoding.cameras[0]] * len(found)
    return Windows(
        features=torch.cat(features),
        states=states,
        actions=actions,
        episodes=table.episodes[found],
        frames=torch.cat(frames),
        extrinsics=table.extrinsics(found, cameras) if encoding.extrinsics else None,
        space=encoding.space,
        labels={
            name: torch.cat([of[name] for of in labels])
            for name in EVENTS
            if all(name in of for of in labels)
        },
    )


def _labels(episode: Trajectory, rows: Tensor) -> dict[str, Tensor]:
    """Return the labels of an episode at some rows `[w, T]`, bool `[w, T]`, those that are one flag a row."""
    columns = {name: episode.columns.get(name) for name in EVENTS}
    return {
        name: torch.from_numpy(values.reshape(len(episode)).astype(bool))[rows]
        for name, values in columns.items()
        if values is not None and values.dtype.kind in "bui" and values.size == len(episode)
    }


def _frames(episode: Trajectory, rows: np.ndarray, encoding: FrameEncoding) -> Tensor:
    """Return the frames at some rows in the encoder's size S, the cameras side by side, uint8 `[M, C, S, V*S]`."""
    views = [encoding.preprocessing.fit(episode.frames(rows, camera)) for camera in encoding.cameras]
    return torch.cat(views, dim=-1)


def _small(frames: Tensor, views: int) -> Tensor:
    if frames.shape[-2] <= STORED_HEIGHT:
        return frames
    return torch.cat([resize_frames(view, STORED_HEIGHT) for view in frames.chunk(views, dim=-1)], dim=-1)
