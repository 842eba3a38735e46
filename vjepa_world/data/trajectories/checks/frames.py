"""Checks of images: one for each row, and none stuck while the arm moves.

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

#: Rows in a row that show the same picture, from which a camera is stuck and not only late once.
_STUCK = 3


def check_camera(episodes: Sequence[Trajectory], camera: str, scale: np.ndarray) -> Iterator[Finding]:
    """Look at every frame of a camera.

    Rules: each row has a frame; no episode's frames are all of one colour; consecutive frames are not equal, bit by
    bit, while the state moves: by more than a hundredth of its range over the dataset, in any of its numbers.

    Args:
        episodes: What to decode.
        camera: Its name.
        scale: Range of each entry of the state over the dataset, `[S]`.

    Yields:
        At most one finding an episode; blank ones are one finding together.
    """
    blank = []
    for episode in episodes:
        try:
            seen = list(_look(episode, camera))
        except DataError as error:
            yield Finding(check="frames", severity="error", message=str(error), episode=episode.index)
            continue
        same, flat = (np.concatenate(parts) for parts in zip(*seen, strict=True))
        if flat.all():
            blank.append(episode.index)
        else:
            yield from _stuck(episode, camera, same[1:] & _moves(episode.states, scale))
    if blank:
        yield Finding(
            check="blank camera",
            severity="error" if len(blank) == len(episodes) else "warning",
            message=f"camera {camera} shows one colour alone, in {len(blank)} of {len(episodes)} episodes: leave the "
            "camera out, or those episodes.",
            episode=blank[0],
        )


def _stuck(episode: Trajectory, camera: str, stuck: np.ndarray) -> Iterator[Finding]:
    """Report rows [T-1] that show what the row before showed, though the state moved."""
    row = first_row(stuck)
    if row is not None:
        longest = _longest_run(stuck)
        yield Finding(
            check="stuck frames",
            severity="error" if longest >= _STUCK else "warning",
            message=f"camera {camera} shows the same picture as in the row before while the state moves, in "
            f"{int(stuck.sum())} of {len(stuck)} rows, {longest} in a row at most, expected in none: leave the "
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
    """Return whether the state moves from each row to the next, bool [T-1]."""
    steps = np.abs(np.diff(states.astype(np.float64), axis=0))
    return np.asarray((steps > 0.01 * scale).any(axis=1))


def _look(episode: Trajectory, camera: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, chunk by chunk, whether a frame equals the one before and whether it is of one colour, bool, T in all."""
    before: Tensor | None = None
    for start in range(0, len(episode), _CHUNK):
        frames = episode.frames(np.arange(start, min(start + _CHUNK, len(episode))), camera)
        # The first frame has none before it, and is compared with itself.
        joined = torch.cat([frames[:1] if before is None else before, frames])
        same = (joined[1:] == joined[:-1]).flatten(1).all(dim=1)
        flat = (frames == frames[..., :1, :1]).flatten(1).all(dim=1)
        yield same.numpy(), flat.numpy()
        before = frames[-1:]


def _longest_run(mask: np.ndarray) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max(initial=0))
