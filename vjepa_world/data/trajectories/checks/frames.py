"""Checks of images: one for each row, and not frozen while the arm moves.

Shapes: T observations of an episode, C H W of an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.checks.findings import Finding, first_row
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError

#: Frames decoded at once.
_CHUNK = 64

#: Number of consecutive equal frames from which a camera counts as frozen, not only late once.
_FROZEN = 3


def check_camera(episodes: Sequence[Trajectory], camera: str, scale: np.ndarray) -> Iterator[Finding]:
    """Check every frame of a camera.

    Rules: each row has a frame; no episode's frames are all of a single colour; consecutive frames are not identical
    while the state moves by more than a hundredth of its range over the dataset, in any entry.

    Args:
        episodes: The episodes to decode.
        camera: Name of the camera.
        scale: Range of each entry of the state over the dataset, `[S]`.

    Yields:
        At most one finding for each episode, and one for all blank episodes together.
    """
    blank = []
    for episode in episodes:
        try:
            compared = list(_compare_frames(episode, camera))
        except DataError as error:
            yield Finding(check="frames", severity="error", message=str(error), episode=episode.index)
            continue
        same, flat = (np.concatenate(parts) for parts in zip(*compared, strict=True))
        if flat.all():
            blank.append(episode.index)
        else:
            yield from _frozen(episode, camera, same[1:] & _moves(episode.states, scale))
    if blank:
        yield Finding(
            check="blank camera",
            severity="error" if len(blank) == len(episodes) else "warning",
            message=f"camera {camera} shows a single colour in {len(blank)} of {len(episodes)} episodes: leave out the "
            "camera, or those episodes.",
            episode=blank[0],
        )


def _frozen(episode: Trajectory, camera: str, frozen: np.ndarray) -> Iterator[Finding]:
    """Report rows [T-1] whose frame equals the one before although the state moved."""
    row = first_row(frozen)
    if row is not None:
        longest = _longest_run(frozen)
        yield Finding(
            check="stuck frames",
            severity="error" if longest >= _FROZEN else "warning",
            message=f"camera {camera} shows the same image as in the row before while the state moves, in "
            f"{int(frozen.sum())} of {len(frozen)} rows, {longest} in a row at most, expected in none: leave the "
            "episode out, or check the camera's clock.",
            episode=episode.index,
            row=row + 1,
        )


def state_range(episodes: Sequence[Trajectory]) -> np.ndarray:
    """Return the range of each entry of the state over all episodes, `[S]`."""
    low = np.min([episode.states.min(axis=0) for episode in episodes], axis=0)
    high: np.ndarray = np.max([episode.states.max(axis=0) for episode in episodes], axis=0)
    return (high - low).astype(np.float64)


def _moves(states: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return whether the state moves from each row to the next, bool [T-1]; never without a state."""
    steps = np.abs(np.diff(states.astype(np.float64), axis=0))
    return np.asarray((steps > 0.01 * scale).any(axis=1))


def _compare_frames(episode: Trajectory, camera: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield in chunks whether each frame equals the one before, and whether it has a single colour, bool [n]."""
    before: Tensor | None = None
    for start in range(0, len(episode), _CHUNK):
        frames = episode.frames(np.arange(start, min(start + _CHUNK, len(episode))), camera)
        # The first frame is compared with itself.
        joined = torch.cat([frames[:1] if before is None else before, frames])
        same = (joined[1:] == joined[:-1]).flatten(1).all(dim=1)
        flat = (frames == frames[..., :1, :1]).flatten(1).all(dim=1)
        yield same.numpy(), flat.numpy()
        before = frames[-1:]


def _longest_run(mask: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
