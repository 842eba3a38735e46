"""Converts a trajectory to the columns of a LeRobotDataset, and checks them; display times of its frames.

Shapes: T observations of an episode, A action size.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.lerobot.layout import ACTION, STATE, DatasetSpec
from vjepa_world.data.trajectories.trajectory import Trajectory, VideoSpan
from vjepa_world.errors import DataError

_TOLERANCE_S = 1e-4  # LeRobot's default for the distance of a frame from its row's time


def dataset_columns(trajectory: Trajectory) -> dict[str, np.ndarray]:
    """Return all columns of numbers and texts of a trajectory in a LeRobotDataset by name, `[T, ...]` each."""
    last = trajectory.last_action
    if last is None:
        last = np.zeros(trajectory.actions.shape[1], trajectory.actions.dtype)
    numbers = {
        **({STATE: trajectory.states} if trajectory.states.shape[1] else {}),
        ACTION: np.concatenate([trajectory.actions, last[None]]),
        **{layout.EXTRINSICS + camera: pose for camera, pose in trajectory.extrinsics.items()},
    }
    for name, values in trajectory.columns.items():
        numbers[_free_name(name, numbers)] = np.asarray(values)
    if trajectory.success is not None and not any(name in numbers for name in layout.SUCCESS):
        flags = np.zeros(len(trajectory), np.bool_)
        flags[-1] = trajectory.success
        numbers[layout.SUCCESS[0]] = flags
    return numbers


def _free_name(name: str, taken: dict[str, np.ndarray]) -> str:
    """Return a column name that LeRobot allows and that has no other meaning."""
    name = name.replace("/", ".")
    reserved = (*layout.DEFAULT_COLUMNS, layout.CLOCK)
    is_free = name not in taken and name not in reserved and not name.startswith(layout.CAMERA)
    return name if is_free else _free_name(f"source.{name}", taken)


def checked_numbers(
    numbers: dict[str, np.ndarray], spec: DatasetSpec, length: int, where: str
) -> dict[str, np.ndarray]:
    """Return an episode's columns, after checking that they match the dataset's specification.

    Args:
        numbers: Columns `[T, ...]` by name.
        spec: The specification.
        length: T.
        where: The episode, for messages.

    Raises:
        DataError: Columns are missing or too many, or one has another type, shape or length, or is not finite.
    """
    expected = spec.numbers
    if numbers.keys() != expected.keys():
        extra = [f"the column {name}" for name in numbers if name not in expected]
        missing = [f"no column {name}" for name in expected if name not in numbers]
        raise DataError(f"{where}: it has {', '.join(extra + missing)}, unlike the episodes before.")
    for name, values in numbers.items():
        shape, kind = (values.shape[1:] or (1,)), layout.dtype_name(values)
        if len(values) != length or length < 2:
            raise DataError(f"{where}: {name} has {len(values)} rows, expected {max(length, 2)}.")
        if shape != expected[name].shape or kind != expected[name].dtype:
            raise DataError(
                f"{where}: {name} is {kind} {list(shape)} a row, expected {expected[name].dtype} "
                f"{list(expected[name].shape)}."
            )
    for name in numbers.keys() & {STATE, ACTION}:
        bad = np.flatnonzero(~np.isfinite(numbers[name]).all(axis=1))
        if bad.size:
            raise DataError(
                f"{where}: {name} of row {bad[0]} is not finite: {numbers[name][bad[0]].tolist()}."
            )
    return numbers


def numbered_tasks(trajectory: Trajectory) -> tuple[list[str], np.ndarray]:
    """Return an episode's distinct tasks, and the index of each row's task among them, int64 `[T]`."""
    texts = trajectory.row_tasks or (trajectory.task,) * len(trajectory)
    tasks = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    return list(tasks), np.array([tasks[text] for text in texts], np.int64)


def display_times(trajectory: Trajectory, spans: Mapping[str, VideoSpan | None], where: str) -> np.ndarray:
    """Return the display time of each row's frame from the episode's beginning in its videos [s], float64 `[T]`.

    Args:
        trajectory: The episode.
        spans: The video span of each camera; None if its frames are encoded at a constant rate.
        where: The episode, for messages.

    Raises:
        DataError: Cameras show rows at different times.
    """
    even_s = np.arange(len(trajectory)) / trajectory.fps
    times_s = {camera: _times(trajectory, span, even_s) for camera, span in spans.items()}
    if not times_s:
        return trajectory.timestamps_s
    # Times of existing video files are kept.
    stamps_s = next(
        (times for camera, times in times_s.items() if spans[camera]), next(iter(times_s.values()))
    )
    for camera, times in times_s.items():
        off = np.flatnonzero(np.abs(times - stamps_s) > _TOLERANCE_S)
        if off.size:
            raise DataError(
                f"{where}, row {off[0]}: camera {camera} shows it {times[off[0]]:.4f} s after the beginning, another "
                f"camera {stamps_s[off[0]]:.4f} s. Encode the videos again (--reencode)."
            )
    return stamps_s


def _times(trajectory: Trajectory, span: VideoSpan | None, even_s: np.ndarray) -> np.ndarray:
    if span is None:
        return even_s
    return trajectory.timestamps_s if span.times_s is None else span.times_s


def needs_clock(trajectory: Trajectory, stamps_s: np.ndarray) -> bool:
    """Return whether the times of rows must be stored in addition to the column `timestamp`, `stamps_s [T]`."""
    written = stamps_s.astype(layout.DEFAULT_COLUMNS["timestamp"]).astype(np.float64)
    even_s = np.arange(len(trajectory)) / trajectory.fps
    return not any(np.array_equal(trajectory.timestamps_s, known) for known in (written, even_s))
