"""A dataset of trajectories made of arrays in memory, usable wherever a dataset from files is.

Shapes: T observations of an episode, S state size, A action size, H W pixels.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.convention_inference import infer_convention
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

_ONLY_CAMERA = "main"


@dataclass(frozen=True, kw_only=True)
class EpisodeArrays:
    """One episode: observations 0 .. T-1, and the action that led from each to the next.

    Attributes:
        states: Numbers `[T, S]`.
        actions: Numbers `[T-1, A]`; `actions[t]` was taken at observation t.
        frames: Images uint8 `[T, H, W, 3]` or `[T, 3, H, W]` of the only camera, or of each camera by its name; empty
            for an episode without images.
        timestamps_s: Times `[T]` from the first observation [s]; None takes the dataset's fps.
        task: What the robot did, in words.
        success: Whether it succeeded, if that is known.
    """

    states: np.ndarray
    actions: np.ndarray
    frames: np.ndarray | Tensor | Mapping[str, np.ndarray | Tensor] = field(default_factory=dict)
    timestamps_s: np.ndarray | None = None
    task: str = ""
    success: bool | None = None


class InMemoryDataset:
    """Trajectories from arrays. Arrays are checked at once and not copied; do not change them afterwards.

    Args:
        episodes: At least one; all with the same S, A and cameras.
        fps: Observations per second.
        convention: How states and actions are written; None takes them as they are, unless their names are those of
            joints, see `infer_convention`.
        state_names: One name for each entry of a state; empty numbers them.
        action_names: One name for each entry of an action; empty numbers them.
        robot: The robot's name, for reports.
        name: What error messages and feature caches call the dataset.

    Raises:
        DataError: An array has another shape or type, or an entry is not finite; the episode is named.
        ConfigError: `fps` is not a positive number.
    """

    format = "memory"

    def __init__(
        self,
        episodes: Sequence[EpisodeArrays],
        *,
        fps: float,
        convention: Convention | None = None,
        state_names: Sequence[str] = (),
        action_names: Sequence[str] = (),
        robot: str = "",
        name: str = "in-memory dataset",
    ) -> None:
        self.path = Path(name)
        self.fps = reader_helpers.check_fps(fps, fps)
        if not episodes:
            raise DataError(f"{name} has no episode; give at least one.")
        sizes = [np.shape(episodes[0].states)[-1:], np.shape(episodes[0].actions)[-1:]]
        self._images: list[dict[str, np.ndarray]] = []
        self._episodes = [self._checked(index, arrays, sizes) for index, arrays in enumerate(episodes)]
        first = self._episodes[0]
        self.cameras = first.cameras
        self.state_names = self._names("state", state_names, first.states.shape[1])
        self.action_names = self._names("action", action_names, first.actions.shape[1])
        self.about: Mapping[str, Any] = {"robot": robot}
        self.convention = convention or PLAIN
        self.convention = infer_convention(self, given=convention is not None)

    @property
    def num_episodes(self) -> int:
        """How many episodes there are."""
        return len(self._episodes)

    def episode(self, index: int) -> Trajectory:
        """Return an episode.

        Raises:
            DataError: There is no such episode.
        """
        reader_helpers.check_index(self.path, index, self.num_episodes)
        return self._episodes[index]

    @functools.cached_property
    def _digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for episode in self._episodes:
            images = self._images[episode.index].values()
            for values in (episode.states, episode.actions, episode.timestamps_s, *images):
                digest.update(f"{values.dtype} {values.shape}".encode())
                digest.update(np.ascontiguousarray(values).data)
        return digest.hexdigest()

    def fingerprint(self) -> str:
        """Return a hash of all numbers and images."""
        return self._digest

    def close(self) -> None:
        """Do nothing: there is no file to close."""

    def _checked(self, index: int, arrays: EpisodeArrays, sizes: Sequence[tuple[int, ...]]) -> Trajectory:
        where = f"episode {index} of {self.path}"
        states, actions = np.asarray(arrays.states), np.asarray(arrays.actions)
        for what, values, size in (("states", states, sizes[0]), ("actions", actions, sizes[1])):
            if values.ndim != 2 or values.shape[1:] != size:
                raise DataError(
                    f"{where}: {what} have shape {list(values.shape)}, expected two axes, [rows, numbers]"
                    + (f" with {size[0]} numbers as in episode 0." if index else ".")
                )
        states = reader_helpers.number_rows(states, where=where, what="states")
        reader_helpers.check_length(len(states), where)
        if len(actions) != len(states) - 1:
            raise DataError(
                f"{where}: {len(states)} states and {len(actions)} actions, expected {len(states) - 1} actions, one "
                "between each two states. Leave out the last one if it led to no observation."
            )
        times = np.arange(len(states)) / self.fps if arrays.timestamps_s is None else arrays.timestamps_s
        times_s = reader_helpers.number_rows(
            np.asarray(times, np.float64), where=where, what="timestamps_s", rows=len(states), size=1
        )
        given = arrays.frames if isinstance(arrays.frames, Mapping) else {_ONLY_CAMERA: arrays.frames}
        cameras = reader_helpers.choose_cameras(None, tuple(given), self.path)
        if index and cameras != tuple(self._images[0]):
            raise DataError(
                f"{where} has the cameras {', '.join(cameras) or 'none'}, and episode 0 has "
                f"{', '.join(self._images[0]) or 'none'}; give all episodes the same cameras in the same order."
            )
        images = {name: _channels_last(given[name], len(states), f"{where}, camera {name}") for name in given}
        self._images.append(images)
        return Trajectory(
            index=index,
            name=where,
            fps=self.fps,
            states=states,
            actions=reader_helpers.number_rows(actions, where=where, what="actions"),
            timestamps_s=times_s.reshape(-1),
            cameras=cameras,
            load_frames=functools.partial(_frames_at, images=images),
            task=arrays.task,
            success=arrays.success,
        )

    def _names(self, what: str, names: Sequence[str], size: int) -> tuple[str, ...]:
        if names and len(names) != size:
            raise DataError(f"{self.path}: {len(names)} {what} names for {size} numbers; give one for each.")
        return tuple(names) or reader_helpers.number_names((what,), (size,))


def _frames_at(camera: str, rows: np.ndarray, *, images: Mapping[str, np.ndarray]) -> Tensor:
    """Return images uint8 `[len(rows), 3, H, W]`."""
    return torch.from_numpy(images[camera][rows]).permute(0, 3, 1, 2)


def _channels_last(images: np.ndarray | Tensor, rows: int, where: str) -> np.ndarray:
    """Return images as uint8 `[T, H, W, 3]`, without a copy."""
    array = np.asarray(images)
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim != 4 or 3 not in (shape[1], shape[3]) or not all(shape):
        raise DataError(
            f"{where}: frames are {array.dtype} of shape {list(shape)}, expected uint8 [T, H, W, 3] or [T, 3, H, W]."
        )
    if len(array) != rows:
        raise DataError(f"{where}: {len(array)} frames and {rows} states; give one frame for each state.")
    return array if shape[3] == 3 else np.moveaxis(array, 1, -1)
