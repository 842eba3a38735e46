"""Windows of a trajectory dataset as an open loop takes them: drawn, decoded once, encoded once.

Legend: W windows, T frames, N tokens a frame, D width, C = 3 channels, H W pixels, V views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.trajectories.base import TrajectoryDataset
from vjepa_world.data.trajectories.windows import WindowTable
from vjepa_world.errors import DataError
from vjepa_world.evaluation.action_axes import ActionSpace
from vjepa_world.evaluation.open_loop.prediction_error import Windows
from vjepa_world.ops.pixels import resize_frames

#: Height of the pictures that are kept to be shown [pixels], and frames encoded together.
SHOWN, FRAMES_AT_ONCE = 128, 64


@dataclass(frozen=True, eq=False)
class Encoding:
    """How frames become features.

    Attributes:
        encode: uint8 `[M, C, H, V*W]` to `[M, N, D]`.
        size: Height and width of each view's frames before [pixels].
        cameras: Which are put side by side, V.
        extrinsics: Whether the first camera's pose is wanted too.
        space: What the actions are.
    """

    encode: Callable[[Tensor], Tensor]
    size: int
    cameras: Sequence[str]
    extrinsics: bool = False
    space: ActionSpace | None = None


def draw_windows(table: WindowTable, count: int, seed: int) -> Tensor:
    """Return `count` of all windows without repetition (all, where there are fewer), in their order, int64.

    Raises:
        DataError: If there are fewer than two.
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
    encoding: Encoding,
    bad: BadFiles,
    tick: Callable[[int], object] = lambda count: None,
) -> Windows:
    """Decode and encode the frames of some windows `[W]`, each row of an episode once.

    Args:
        dataset: Where the frames are.
        table: Which rows make a window.
        chosen: Windows of the table.
        encoding: How frames become features.
        bad: Told of episodes whose frames cannot be decoded; their windows are left out.
        tick: Told how many windows were read.

    Raises:
        DataError: If too many episodes cannot be decoded, or none of those that were drawn.
    """
    features, frames, kept = [], [], []
    places = table.episodes[chosen]
    for place in places.unique().tolist():
        episode, windows = table.source[place], chosen[places == place]
        rows, inverse = table.rows[windows].unique(return_inverse=True)
        try:
            seen = _frames(dataset, episode.index, rows.numpy(), encoding)
        except DataError as error:
            bad.add(f"{dataset.path} episode {episode.index}", str(error))
            bad.check(len(table.source))
            continue
        encoded = torch.cat([encoding.encode(part).float().cpu() for part in seen.split(FRAMES_AT_ONCE)])
        features.append(encoded[inverse])
        frames.append(_small(seen, len(encoding.cameras))[inverse])
        kept.append(windows)
        tick(len(windows))
    if not kept:
        raise DataError(
            f"{dataset.path}: the frames of none of the {len(places.unique())} episodes that were drawn can be "
            f"read, the first because: {next(iter(bad.reasons.values()))}. Repair them, or give more episodes."
        )
    found = torch.cat(kept)
    states, actions = table.numbers(found)
    cameras = [encoding.cameras[0]] * len(found)
    return Windows(
        features=torch.cat(features),
        states=states,
        actions=actions,
        episodes=table.episodes[found],
        frames=torch.cat(frames),
        extrinsics=table.extrinsics(found, cameras) if encoding.extrinsics else None,
        space=encoding.space,
    )


def _frames(dataset: TrajectoryDataset, index: int, rows: np.ndarray, encoding: Encoding) -> Tensor:
    """Return the rows' frames, the cameras side by side, uint8 `[M, C, size, V*size]`."""
    episode = dataset.episode(index)
    views = [resize_frames(episode.frames(rows, camera), encoding.size) for camera in encoding.cameras]
    return torch.cat(views, dim=-1)


def _small(frames: Tensor, views: int) -> Tensor:
    if frames.shape[-2] <= SHOWN:
        return frames
    return torch.cat([resize_frames(view, SHOWN) for view in frames.chunk(views, dim=-1)], dim=-1)
