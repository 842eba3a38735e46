"""Reads robomimic's HDF5 files, one for a dataset: `data/demo_N/{obs/..., actions, states, rewards, dones}`.

Images are uint8 [T,H,W,3] below `obs`. robosuite's end effector is `robot0_eef_pos` [m], `robot0_eef_quat` (x y z w)
and `robot0_gripper_qpos`, the two fingers' joints, of which the first reads 0.04 m open and 0 closed on a Panda.

Shapes: T observations of an episode.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vjepa_world.data.trajectories import reading
from vjepa_world.data.trajectories.base import Trajectory
from vjepa_world.data.trajectories.hdf5 import (
    array_names,
    has_dataset,
    is_group,
    is_hdf5,
    open_hdf5,
    read_array,
)
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

_STATE = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
_SIZES = (3, 4, 2)
_ACTIONS = "actions"
_FPS = 20.0
_DEMO = re.compile(r"(.*?)(\d+)")

#: Of the default state. Positions are in the simulator's world, whose axes are the base's unless that is turned.
#: Actions are the controller's own numbers, in [-1, 1].
ROBOSUITE = Convention(
    rotation="quat_xyzw",
    rotation_at=(3, 4, 5, 6),
    gripper_at=(7,),
    gripper_open=0.04,
    gripper_closed=0.0,
    actions="given",
)


def is_robomimic(path: Path) -> bool:
    """Whether a file is HDF5 with demonstrations in it."""
    if not is_hdf5(path):
        return False
    with open_hdf5(path, str(path)) as file:
        return is_group(file, "data") and any(_DEMO.fullmatch(name) for name in file["data"])


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What all demonstrations have in common."""

    state_sizes: tuple[int, ...]
    action_size: int
    cameras: Mapping[str, str]  # the array below a demonstration by the camera's name


class RobomimicDataset:
    """The demonstrations of a robomimic HDF5 file, read when asked for.

    Args:
        path: The file.
        convention: How states and actions are written; None takes robosuite's for the default state, else PLAIN.
        state: Arrays below `obs` that make the state; None takes the end effector's position, quaternion (x y z w)
            and finger joints.
        cameras: Images to read, as below `obs` without `_image`; None takes all.
        fps: Observations a second; None takes the file's control frequency, or 20.

    Raises:
        DataError: No such file, no readable demonstration, or arrays that are not there.
        ConfigError: `fps` is no positive number.
    """

    format = "robomimic"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        convention: Convention | None = None,
        state: Sequence[str] | str | None = None,
        cameras: Sequence[str] | None = None,
        fps: float | None = None,
    ) -> None:
        self.path = Path(path)
        self._state = _STATE if state is None else (state,) if isinstance(state, str) else tuple(state)
        with open_hdf5(self.path, str(self.path)) as file:
            if not is_group(file, "data"):
                raise DataError(
                    f"{self.path} has no group 'data'; it has: {', '.join(file)}. Give a robomimic file."
                )
            self._demos = sorted((name for name in file["data"] if _DEMO.fullmatch(name)), key=_number)
            environment = _environment(file["data"].attrs.get("env_args"))
        self._task = str(environment.get("env_name") or "")
        rate = environment.get("env_kwargs", {}).get("control_freq")
        self.fps = reading.check_fps(fps, float(rate) if rate else _FPS)
        self._layout = reading.first_readable(self.num_episodes, self._read_layout, self.path)
        self.cameras = reading.choose_cameras(cameras, tuple(self._layout.cameras), self.path)
        self.state_names = reading.names_of(self._state, self._layout.state_sizes)
        self.action_names = reading.names_of((_ACTIONS,), (self._layout.action_size,))
        usual = state is None and self._layout.state_sizes == _SIZES
        self.convention = convention or (ROBOSUITE if usual else PLAIN)
        self.about: Mapping[str, Any] = {
            "environment": self._task,
            "fps from": "fps=" if fps is not None else "env_args" if rate else "robosuite's default",
            "convention from": "convention=" if convention else ("robosuite's Panda" if usual else "PLAIN"),
        }

    @property
    def num_episodes(self) -> int:
        """How many episodes there are."""
        return len(self._demos)

    def episode(self, index: int) -> Trajectory:
        """Return a demonstration; its numbers are read and checked now, its frames when asked for.

        Raises:
            DataError: No such one; arrays or rows are missing, or a number is not finite.
        """
        reading.check_index(self.path, index, self.num_episodes)
        where = self._where(index)
        with open_hdf5(self.path, where) as file:
            demo = file["data"][self._demos[index]]
            states = self._states(demo, where, self._layout.state_sizes)
            rows = len(states)
            reading.check_length(rows, where)
            actions = reading.number_rows(
                read_array(demo, _ACTIONS, where),
                where=where,
                what=_ACTIONS,
                rows=rows,
                size=self._layout.action_size,
            )
            images = {name: self._layout.cameras[name] for name in self.cameras}
            for name in images.values():
                _check_images(demo, name, rows, where)
            columns = self._columns(demo, rows)
            task = _instruction(demo.attrs.get("ep_meta")) or self._task
        return Trajectory(
            index=index,
            name=where,
            fps=self.fps,
            states=states,
            actions=actions[:-1],  # the last row's leads to no observation
            timestamps_s=np.arange(rows) / self.fps,
            cameras=self.cameras,
            load_frames=functools.partial(_load, self.path, where, f"data/{self._demos[index]}", images),
            task=task,
            success=_success(columns.get("rewards")),
            columns=columns,
            last_action=actions[-1],
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the file does."""
        return reading.fingerprint([self.path], self.path.parent)

    def close(self) -> None:
        """Do nothing: the file is opened for each read."""

    def _where(self, index: int) -> str:
        return f"{self.path} episode {index} ({self._demos[index]})"

    def _read_layout(self, index: int) -> _Layout:
        where = self._where(index)
        with open_hdf5(self.path, where) as file:
            demo = file["data"][self._demos[index]]
            columns = [read_array(demo, f"obs/{name}", where) for name in self._state]
            actions = read_array(demo, _ACTIONS, where)
            found = [name for name in array_names(demo) if name.startswith("obs/") and _is_images(demo[name])]
        rows = len(actions)
        sizes = [
            reading.number_rows(column, where=where, what=name, rows=rows).shape[1]
            for name, column in zip(self._state, columns, strict=True)
        ]
        return _Layout(
            state_sizes=tuple(sizes),
            action_size=reading.number_rows(actions, where=where, what=_ACTIONS).shape[1],
            cameras={name.removeprefix("obs/").removesuffix("_image"): name for name in found},
        )

    def _states(self, demo: Any, where: str, sizes: tuple[int, ...]) -> np.ndarray:
        parts: list[np.ndarray] = []
        for name, size in zip(self._state, sizes, strict=True):
            values = read_array(demo, f"obs/{name}", where)
            rows = len(parts[0]) if parts else None
            parts.append(reading.number_rows(values, where=where, what=name, rows=rows, size=size))
        return reading.joined(parts)

    def _columns(self, demo: Any, rows: int) -> dict[str, np.ndarray]:
        """Return the other numbers with an entry for each row: observations, simulator states, rewards, dones."""
        used = (_ACTIONS, *(f"obs/{name}" for name in self._state))
        return {
            name: np.asarray(demo[name])
            for name in array_names(demo)
            if name not in used
            and not name.startswith("next_obs/")
            and demo[name].dtype.kind in "fiub"
            and demo[name].shape[:1] == (rows,)
            and demo[name].ndim <= 2
        }


def _number(name: str) -> tuple[str, int]:
    found = _DEMO.fullmatch(name)
    assert found is not None  # only such names are sorted
    return found.group(1), int(found.group(2))


def _environment(text: object) -> dict[str, Any]:
    """Return what the file says of its simulator; {} where it says nothing that can be read."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("env_kwargs", {}), dict) else {}


def _instruction(text: object) -> str:
    return str(_environment(text).get("lang") or "")


def _is_images(array: Any) -> bool:
    return bool(array.dtype == np.uint8 and array.ndim == 4 and array.shape[-1] == 3)


def _check_images(demo: Any, name: str, rows: int, where: str) -> None:
    if not has_dataset(demo, name):
        raise DataError(f"{where} has no images '{name}'. Take it out, or choose others with cameras=.")
    array = demo[name]
    if not _is_images(array) or len(array) != rows:
        raise DataError(
            f"{where}: {name} is {array.dtype} of shape {tuple(array.shape)}, expected uint8 [{rows},H,W,3]. Take the "
            "episode out, or record it again."
        )


def _load(
    path: Path, where: str, group: str, images: dict[str, str], camera: str, rows: np.ndarray
) -> Tensor:
    with open_hdf5(path, where) as file:
        return reading.pictures(file[group][images[camera]], rows)


def _success(rewards: np.ndarray | None) -> bool | None:
    """Return whether a reward of one was given, where rewards are nothing but zero and one."""
    if rewards is None or not np.isin(rewards, (0, 1)).all():
        return None
    return bool(rewards.any())
