"""Windows of trajectories: their rows, chosen by time, and their states and actions.

Shapes: B windows, T frames of a window, W windows in all, R rows of an episode, S state size, A action size.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.trajectories.standardise import standardise
from vjepa_world.data.trajectories.trajectory import Trajectory, TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.ops.pose import compose_actions
from vjepa_world.system.progress import track

#: Of two rows that are equally close within this tolerance, the earlier one is taken [s].
_TIE_S = 1e-9

#: How the actions of skipped rows are merged into one: composed poses, a sum, the last one, or all concatenated.
ActionMerging = Literal["pose", "add", "last", "stack"]


def action_merging(convention: Convention) -> ActionMerging:
    """Return how the actions of skipped rows are merged into one, in the standard convention."""
    if convention.actions == "given":
        return "stack"
    if convention.has_joints:
        return "last" if convention.absolute_actions else "add"
    return "pose" if convention.has_pose else "stack"


@dataclass(frozen=True)
class EpisodeNumbers:
    """An episode without its images, in the standard convention.

    Attributes:
        index: Its index in the dataset.
        name: Its name in messages.
        states: float32 `[R, S]`.
        actions: float32 `[R-1, A]`.
        timestamps_s: Time from the first row [s], float64 `[R]`.
        merging: How the actions of skipped rows are merged: pose deltas are composed (pose), changes added (add), of
            targets the last one is taken (last), others are concatenated (stack).
        extrinsics: By camera, its pose [m, rad], float32 `[R, 6]`.
        task: What the robot did, in words.
        fingerprint: Hash of the file's numbers, which identifies the episode after moving or converting it; may be
            empty.
    """

    index: int
    name: str
    states: np.ndarray
    actions: np.ndarray
    timestamps_s: np.ndarray
    merging: ActionMerging
    extrinsics: Mapping[str, np.ndarray] = field(default_factory=dict)
    task: str = ""
    fingerprint: str = ""


def fingerprint(trajectory: Trajectory) -> str:
    """Return a hash of an episode's states and actions, which is the same in a copy or another format.

    Times, names and images do not count: a conversion may change them.
    """
    digest = hashlib.blake2b(digest_size=8)
    for values in (trajectory.states, trajectory.actions):
        digest.update(f"{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return digest.hexdigest()


def read_episodes(
    dataset: TrajectoryDataset, *, max_bad_fraction: float, indices: Sequence[int] | None = None
) -> tuple[list[EpisodeNumbers], BadFiles]:
    """Read the numbers of episodes and convert them to the standard convention.

    Args:
        dataset: The trajectories.
        max_bad_fraction: Share of unusable episodes above which to stop.
        indices: Indices of the episodes; None reads all.

    Returns:
        The usable episodes, and the unusable ones with their reasons.

    Raises:
        DataError: Too many episodes are unusable, or all.
    """
    wanted = range(dataset.num_episodes) if indices is None else indices
    bad = BadFiles(max_bad_fraction, what="episodes")
    found = []
    for index in track(wanted, "numbers", unit="episode", delay_s=2.0):
        try:
            found.append(_numbers(dataset.episode(index), dataset.convention))
        except DataError as error:
            bad.add(f"{dataset.path} episode {index}", str(error))
            bad.check(len(wanted))
    bad.check(len(wanted))
    return found, bad


def _numbers(trajectory: Trajectory, convention: Convention) -> EpisodeNumbers:
    ours = standardise(trajectory, convention)
    return EpisodeNumbers(
        index=ours.index,
        name=ours.name,
        states=ours.states,
        actions=ours.actions,
        timestamps_s=ours.timestamps_s,
        merging=action_merging(convention),
        extrinsics={name: values.astype(np.float32) for name, values in ours.extrinsics.items()},
        task=ours.task,
        fingerprint=fingerprint(trajectory),
    )


class WindowTable:
    """All windows of some episodes: frame i of a window is the row closest to its first row's time plus i / fps.

    Windows that cross the end of an episode or a jump of its clock are left out.

    Args:
        episodes: From `read_episodes`.
        frames: T, at least 2.
        fps: Frames per second; 0 takes every row.

    Attributes:
        rows: Rows in the episode, int64 `[W, T]`.
        episodes: Index of each window's episode in the list of episodes, int64 `[W]`.
        indices: Index of each window's episode in the dataset, int64 `[W]`.
        fps: Frames per second of the windows.
        merging: How the actions of skipped rows are merged.
        stride: Largest number of rows between two frames.

    Raises:
        ConfigError: `fps` is higher than the data's.
        DataError: Actions without a known meaning would have to be merged in varying numbers.
    """

    def __init__(self, episodes: Sequence[EpisodeNumbers], *, frames: int, fps: float = 0.0) -> None:
        self.frames = frames
        self.source = list(episodes)
        own = _data_fps(self.source)
        if fps > own * (1 + 1e-3):
            raise ConfigError(
                f"data.fps is {fps:g}, and the data has {own:g} frames per second; give at most that, or 0 for "
                "all rows."
            )
        self.fps = fps or own
        tables = [_rows(episode.timestamps_s, frames, self.fps, own) for episode in self.source]
        empty = np.empty((0, frames), np.int64)
        self.rows = torch.from_numpy(np.concatenate([empty, *tables]))
        self.episodes = torch.repeat_interleave(
            torch.arange(len(tables)), torch.tensor([len(t) for t in tables])
        )
        self.indices = torch.tensor([episode.index for episode in self.source], dtype=torch.long)[
            self.episodes
        ]
        lengths = [len(episode.states) for episode in self.source]
        self._starts = torch.tensor([0, *lengths]).cumsum(0)[:-1]
        self.merging: ActionMerging = self.source[0].merging if self.source else "stack"
        self._states = torch.from_numpy(_joined([e.states for e in self.source]))
        # A row of zeros ends each episode, so that actions and states have the same indices.
        self._actions = torch.from_numpy(_joined([np.pad(e.actions, ((0, 1), (0, 0))) for e in self.source]))
        self.stride = self._stride()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def state_dim(self) -> int:
        """S."""
        return self._states.shape[1]

    @property
    def action_dim(self) -> int:
        """A, of an action from frame to frame."""
        return self._actions.shape[1] * (self.stride if self.merging == "stack" else 1)

    def states_and_actions(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Return the states and actions of windows `[B]`: float32 `[B, T, S]` and `[B, T-1, A]`.

        Each action leads from frame to frame; those of skipped rows are merged, see `EpisodeNumbers.merging`.
        """
        rows = self.global_rows(windows)
        states = self._states[rows]
        if self.stride == 1:
            return states, self._actions[rows[:, :-1]]
        if self.merging == "last":
            return states, self._actions[rows[:, 1:] - 1]
        each = rows[:, :-1, None] + torch.arange(self.stride)
        actions = self._actions[each.clamp_max(len(self._actions) - 1)]
        if self.merging == "stack":
            return states, actions.flatten(2)
        taken = actions * (each < rows[:, 1:, None]).unsqueeze(-1)
        return states, compose_actions(taken) if self.merging == "pose" else taken.sum(dim=2)

    def global_rows(self, windows: Tensor) -> Tensor:
        """Return the rows of windows `[B]` as indices into the rows of all episodes, int64 `[B, T]`."""
        return self._starts[self.episodes[windows]].unsqueeze(1) + self.rows[windows]

    def extrinsics(self, windows: Tensor, cameras: Sequence[str]) -> Tensor:
        """Return the pose of a camera at each frame [m, rad], float32 `[B, T, 6]`.

        Args:
            windows: Their numbers `[B]`.
            cameras: The camera of each window, B names.

        Raises:
            DataError: An episode has no pose of its camera.
        """
        found = []
        for window, camera in zip(windows.tolist(), cameras, strict=True):
            episode = self.source[int(self.episodes[window])]
            if camera not in episode.extrinsics:
                raise DataError(
                    f"{episode.name} has no extrinsics of camera '{camera}' (it has those of: "
                    f"{', '.join(episode.extrinsics) or 'none'}); set predictor.use_extrinsics=false, or give other "
                    "data."
                )
            found.append(torch.from_numpy(episode.extrinsics[camera])[self.rows[window]])
        return torch.stack(found)

    def of_episodes(self, episodes: Sequence[int]) -> Tensor:
        """Return the windows of the episodes at these indices of the list, int64 `[number of windows]`."""
        return torch.isin(self.episodes, torch.tensor(list(episodes), dtype=torch.long)).nonzero().squeeze(1)

    def _stride(self) -> int:
        """Return the largest number of rows between two frames.

        Raises:
            DataError: It varies, and actions cannot be merged.
        """
        steps = torch.diff(self.rows, dim=1)
        low, high = (int(steps.min()), int(steps.max())) if steps.numel() else (1, 1)
        if low != high and self.merging == "stack":
            raise DataError(
                f"at data.fps={self.fps:g} between {low} and {high} rows lie between two frames, and actions without "
                "a known meaning cannot be merged in varying numbers; choose a data.fps that divides the data's."
            )
        return high


def _data_fps(episodes: Sequence[EpisodeNumbers]) -> float:
    intervals = [np.median(np.diff(e.timestamps_s)) for e in episodes if len(e.timestamps_s) > 1]
    return float(1 / np.median(intervals)) if intervals else 1.0


def _rows(times_s: np.ndarray, frames: int, fps: float, own: float) -> np.ndarray:
    """Return the rows of every window of an episode, int64 [w, T]."""
    targets = times_s[:, None] + np.arange(frames) / fps
    after = np.searchsorted(times_s, targets).clip(max=len(times_s) - 1)
    before = np.maximum(after - 1, 0)
    late, early = np.abs(times_s[after] - targets), np.abs(times_s[before] - targets)
    nearest = np.where(late < early - _TIE_S, after, before)
    exists = np.abs(times_s[nearest] - targets).max(axis=1) <= 0.5 / own * (1 + 1e-6)
    increasing = (np.diff(nearest, axis=1) > 0).all(axis=1)
    rows: np.ndarray = nearest[exists & increasing].astype(np.int64)
    return rows


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)
