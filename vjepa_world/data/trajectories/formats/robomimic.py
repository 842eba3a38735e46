"""Reads robomimic's HDF5 files, one for each dataset: `data/demo_N/{obs/..., actions, states, rewards, dones}`.

Images are uint8 `[T, H, W, 3]` below `obs`, or in one of the other ways of `image_arrays`. robosuite's end effector is
`robot0_eef_pos` [m], `robot0_eef_quat` (x y z w) and `robot0_gripper_qpos`, the two fingers' joints, of which the first
reads 0.04 m open and 0 closed on a Panda.

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

from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.formats.hdf5 import (
    Listing,
    attribute,
    find,
    has_dataset,
    is_group,
    is_hdf5,
    list_arrays,
    names_in,
    open_array,
    open_hdf5,
    read_array,
    read_rows,
    row_columns,
)
from vjepa_world.data.trajectories.formats.image_arrays import ImageArray, detect_images
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.files.validation import rate
from vjepa_world.ops.convention import PLAIN, Convention

_STATE = ("robot0_eef_pos", "robot0_eef_quat", "robot0_gripper_qpos")
_SIZES = (3, 4, 2)
_ACTIONS = "actions"
_FPS = 20.0
_DEMO = re.compile(r"(.*?)([0-9]{1,18})")
_FIRST_ROWS = 4  # rows from which the range of floating-point images is inferred

#: Convention of the default state. Positions are in the simulator's world frame, whose axes are the base's unless that
#: is rotated. Actions are the controller's inputs, in [-1, 1].
ROBOSUITE = Convention(
    rotation="quat_xyzw",
    rotation_at=(3, 4, 5, 6),
    gripper_at=(7,),
    gripper_open=0.04,
    gripper_closed=0.0,
    actions="given",
)


def is_robomimic(path: Path) -> bool:
    """Return whether a file is HDF5 with demonstrations."""
    if not is_hdf5(path):
        return False
    where = str(path)
    with open_hdf5(path, where) as file:
        data = find(file, "data", where) if is_group(file, "data", where) else ()
        return any(_DEMO.fullmatch(name) for name in data)


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """What all demonstrations have in common."""

    state_sizes: tuple[int, ...]
    action_size: int
    cameras: Mapping[str, _Camera]
    left_out: Mapping[str, str]


@dataclass(frozen=True)
class _Camera:
    """The array with a camera's images in a demonstration, and their layout."""

    array: str
    images: ImageArray


class RobomimicDataset:
    """The demonstrations of a robomimic HDF5 file, read on request.

    Args:
        path: The file.
        convention: How states and actions are written; None takes robosuite's for the default state, else PLAIN.
        state: Arrays below `obs` that form the state; None takes the end effector's position, quaternion (x y z w)
            and finger joints.
        cameras: Images to read, as below `obs` without `_image`; None takes all.
        fps: Observations per second; None takes the file's control frequency, or 20.

    Raises:
        DataError: The file or an array is missing, or no demonstration is readable.
        ConfigError: `fps` is not a positive number.
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
        where = str(self.path)
        with open_hdf5(self.path, where) as file:
            if not is_group(file, "data", where):
                raise DataError(
                    f"{self.path} has no group 'data'; it has: {', '.join(names_in(file, where)[:100])}. Give a "
                    "robomimic file."
                )
            data = find(file, "data", where)
            self._demos = sorted(
                (name for name in names_in(data, where) if _DEMO.fullmatch(name)), key=_number
            )
            environment = _environment(attribute(data, "env_args", where))
        self._task = _word(environment.get("env_name"))
        declared = environment.get("env_kwargs", {}).get("control_freq")
        usual_fps = rate(declared, f"{self.path}: control_freq of env_args") if declared else _FPS
        self.fps = reader_helpers.check_fps(fps, usual_fps)
        self._layout = reader_helpers.first_readable(self.num_episodes, self._read_layout, self.path)
        self.cameras = reader_helpers.choose_cameras(cameras, tuple(self._layout.cameras), self.path)
        self.state_names = reader_helpers.number_names(self._state, self._layout.state_sizes)
        self.action_names = reader_helpers.number_names((_ACTIONS,), (self._layout.action_size,))
        usual = state is None and self._layout.state_sizes == _SIZES
        self.convention = convention or (ROBOSUITE if usual else PLAIN)
        self.about: Mapping[str, Any] = {
            "environment_name": self._task,
            "frame rate from": "fps="
            if fps is not None
            else "env_args"
            if declared
            else "robosuite's default",
            "convention from": "convention=" if convention else ("robosuite's Panda" if usual else "PLAIN"),
            **({"left_out": dict(self._layout.left_out)} if self._layout.left_out else {}),
        }

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self._demos)

    def episode(self, index: int) -> Trajectory:
        """Return a demonstration; its numbers are read and checked now, its frames on request.

        Raises:
            DataError: There is none of this index, arrays or rows are missing, or a number is not finite.
        """
        reader_helpers.check_index(self.path, index, self.num_episodes)
        where = self._where(index)
        with open_hdf5(self.path, where) as file:
            demo = self._demo(file, index, where)
            states = self._states(demo, where, self._layout.state_sizes)
            rows = len(states)
            reader_helpers.check_length(rows, where)
            actions = reader_helpers.number_rows(
                read_array(demo, _ACTIONS, where),
                where=where,
                what=_ACTIONS,
                rows=rows,
                size=self._layout.action_size,
            )
            cameras = {name: self._layout.cameras[name] for name in self.cameras}
            for camera in cameras.values():
                _check_images(demo, camera, rows, where)
            columns, _ = row_columns(_listed(demo, where), self._used(), rows, where)
            task = _instruction(attribute(demo, "ep_meta", where)) or self._task
        return Trajectory(
            index=index,
            name=where,
            fps=self.fps,
            states=states,
            actions=actions[:-1],  # the last row's action leads to no observation
            timestamps_s=np.arange(rows) / self.fps,
            cameras=self.cameras,
            load_frames=functools.partial(_load, self.path, where, f"data/{self._demos[index]}", cameras),
            task=task,
            success=_success(columns.get("rewards")),
            columns=columns,
            last_action=actions[-1],
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the file does."""
        return reader_helpers.fingerprint([self.path], self.path.parent)

    def close(self) -> None:
        """Do nothing: the file is opened for each read."""

    def _where(self, index: int) -> str:
        return f"{self.path} episode {index} ({self._demos[index]})"

    def _demo(self, file: Any, index: int, where: str) -> Any:
        demo = find(file, f"data/{self._demos[index]}", where)
        if demo is None or not is_group(file, f"data/{self._demos[index]}", where):
            raise DataError(f"{where} is not a group of arrays. Take it out, or copy the file again.")
        return demo

    def _read_layout(self, index: int) -> _Layout:
        where = self._where(index)
        with open_hdf5(self.path, where) as file:
            demo = self._demo(file, index, where)
            columns = [read_array(demo, f"obs/{name}", where) for name in self._state]
            actions = read_array(demo, _ACTIONS, where)
            rows = len(actions) if actions.ndim else 0
            listing = _listed(demo, where)
            found, left_out = _find_images(demo, listing, where)
            arrays = {camera.array for camera in found.values()}
            used = (*self._used(), *arrays, *left_out)
            others = row_columns(listing, used, rows, where)[1]
        sizes = [
            reader_helpers.number_rows(column, where=where, what=name, rows=rows).shape[1]
            for name, column in zip(self._state, columns, strict=True)
        ]
        return _Layout(
            state_sizes=tuple(sizes),
            action_size=reader_helpers.number_rows(actions, where=where, what=_ACTIONS).shape[1],
            cameras=found,
            left_out={**left_out, **others},
        )

    def _used(self) -> tuple[str, ...]:
        """Return the arrays of state and action."""
        return (_ACTIONS, *(f"obs/{name}" for name in self._state))

    def _states(self, demo: Any, where: str, sizes: tuple[int, ...]) -> np.ndarray:
        parts: list[np.ndarray] = []
        for name, size in zip(self._state, sizes, strict=True):
            values = read_array(demo, f"obs/{name}", where)
            rows = len(parts[0]) if parts else None
            parts.append(reader_helpers.number_rows(values, where=where, what=name, rows=rows, size=size))
        return reader_helpers.concatenate_columns(parts)


def _number(name: str) -> tuple[str, int]:
    found = _DEMO.fullmatch(name)
    assert found is not None  # only matching names are sorted
    return found.group(1), int(found.group(2))


def _environment(text: object) -> dict[str, Any]:
    """Return the file's description of its simulator; {} if there is none that can be read."""
    try:
        found = json.loads(text) if isinstance(text, str | bytes) else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("env_kwargs", {}), dict) else {}


def _word(value: object) -> str:
    """Return a text of the file, empty if it is not one."""
    return value[:1000] if isinstance(value, str) else ""


def _instruction(text: object) -> str:
    return _word(_environment(text).get("lang"))


def _listed(demo: Any, where: str) -> Listing:
    """Return the arrays of a demonstration, without `next_obs`, the same observations shifted by a row."""
    return list_arrays(demo, where, skipped=("next_obs",))


def _find_images(demo: Any, listing: Listing, where: str) -> tuple[dict[str, _Camera], dict[str, str]]:
    """Return the cameras by name, and the reasons for image arrays that are not read."""
    found: dict[str, _Camera] = {}
    left_out: dict[str, str] = {}
    for name in listing.arrays:
        if not name.startswith("obs/"):
            continue
        array = open_array(demo, name, where)
        images = detect_images(name, array, functools.partial(read_rows, array, slice(_FIRST_ROWS), where))
        if isinstance(images, ImageArray):
            camera = name.removeprefix("obs/").removesuffix("_image")
            # If there are both `front` and `front_image`, both keep their names.
            found[camera if camera not in found else name.removeprefix("obs/")] = _Camera(name, images)
        elif images is not None:
            left_out[name] = images
    return found, left_out


def _check_images(demo: Any, camera: _Camera, rows: int, where: str) -> None:
    name = camera.array
    if not has_dataset(demo, name, where):
        raise DataError(f"{where} has no images '{name}'. Take it out, or choose others with cameras=.")
    array = open_array(demo, name, where)
    images = detect_images(name, array, functools.partial(read_rows, array, slice(_FIRST_ROWS), where))
    same = isinstance(images, ImageArray) and images.layout == camera.images.layout
    if not same or array.shape[0] != rows:
        expected = "uint8 [{rows},H,W,3]" if camera.images.layout == "hwc" else "as elsewhere, {rows} rows"
        raise DataError(
            f"{where}: {name} is {array.dtype} of shape {tuple(array.shape)}, expected {expected.format(rows=rows)}. "
            "Take the episode out, or record it again."
        )


def _load(
    path: Path, where: str, group: str, cameras: dict[str, _Camera], camera: str, rows: np.ndarray
) -> Tensor:
    chosen = cameras[camera]
    with open_hdf5(path, where) as file:
        array = open_array(find(file, group, where), chosen.array, where)
        block, back = reader_helpers.read_unique_rows(lambda part: read_rows(array, part, where), rows)
    return chosen.images.pixels(block, f"{where}: {chosen.array}")[back]


def _success(rewards: np.ndarray | None) -> bool | None:
    """Return whether any reward is one; None unless all rewards are zero or one."""
    if rewards is None or not np.isin(rewards, (0, 1)).all():
        return None
    return bool(rewards.any())
