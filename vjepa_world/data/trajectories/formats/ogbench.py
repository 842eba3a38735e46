"""Reads OGBench's npz files: all episodes concatenated, `terminals` 1 in the last row of each.

    observations  vectors [N, S], or images uint8 [N, H, W, C] where C is a multiple of 3 (stacked frames), or in one
                  of the other ways of `image_arrays`
    actions [N, A], terminals [N], and more columns (qpos, qvel, ...) with N rows

Shapes: N rows of the file, T of an episode.
"""

from __future__ import annotations

import functools
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.formats.image_arrays import ImageArray, detect_images
from vjepa_world.data.trajectories.formats.npz import NpzFile, npz_names
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import PLAIN, Convention

_NEEDED = ("observations", "actions", "terminals")
_STATE_OF_IMAGES = ("qpos", "qvel")
_CAMERA = "main"
_FPS = 20.0
_FIRST_ROWS = 4  # rows from which the range of floating-point images is inferred


def is_ogbench(path: Path) -> bool:
    """Return whether a file is npz and has OGBench's arrays."""
    if path.suffix.lower() != ".npz" or not zipfile.is_zipfile(path):
        return False
    return set(_NEEDED) <= set(npz_names(path))


class OGBenchDataset:
    """The episodes of an OGBench npz file, read on request.

    Files written with `np.savez` are memory-mapped. Compressed arrays are decompressed into memory once per process;
    the large ones of the visual tasks are better stored again with `np.savez`.

    Args:
        path: The file.
        convention: How states and actions are written; None takes PLAIN.
        state: Arrays that form the state; None takes `observations`, or `qpos` and `qvel` if those are images.
        fps: Observations per second, which the file does not say; None takes 20, that of its manipulation tasks.

    Raises:
        DataError: The file is missing or damaged, or arrays are missing or differ in length.
        ConfigError: `fps` is not a positive number.
    """

    format = "ogbench"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        convention: Convention | None = None,
        state: Sequence[str] | str | None = None,
        fps: float | None = None,
    ) -> None:
        self.path = Path(path)
        self.convention = convention or PLAIN
        self.fps = reader_helpers.check_fps(fps, _FPS)
        self._file = NpzFile(self.path)
        self._check_arrays()
        self._images = self._find_images()
        self.cameras = (_CAMERA,) if self._images is not None else ()
        self._state = self._choose_state(state)
        self._starts, self._ends = self._split()
        sizes = [_width(self._file.shape(name)) for name in (*self._state, "actions")]
        self.state_names = reader_helpers.number_names(self._state, sizes[:-1])
        self.action_names = reader_helpers.number_names(("actions",), sizes[-1:])
        self.about: Mapping[str, Any] = {
            "frame rate from": "fps=" if fps is not None else "OGBench's manipulation tasks, assumed",
            "convention from": "convention=" if convention else "PLAIN",
            "images": "mapped" if self.cameras and self._file.is_mapped("observations") else "in memory",
            **({"left_out": left_out} if (left_out := self._left_out()) else {}),
        }

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self._starts)

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its numbers are checked now, its frames read on request.

        Raises:
            DataError: No such episode, or a number that is not finite.
        """
        reader_helpers.check_index(self.path, index, self.num_episodes)
        start, end = int(self._starts[index]), int(self._ends[index])
        where = f"{self.path} episode {index}"
        reader_helpers.check_length(end - start, where)
        actions = self._numbers("actions", start, end, where)
        return Trajectory(
            index=index,
            name=where,
            fps=self.fps,
            states=reader_helpers.concatenate_columns(
                [self._numbers(name, start, end, where) for name in self._state]
            ),
            actions=actions[:-1],  # the last row's action leads to no observation
            timestamps_s=np.arange(end - start) / self.fps,
            cameras=self.cameras,
            load_frames=functools.partial(self._frames, start),
            columns={name: np.array(self._file[name][start:end]) for name in self._other_columns()},
            last_action=actions[-1],
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the file does."""
        return reader_helpers.fingerprint([self.path], self.path.parent)

    def close(self) -> None:
        """Release all arrays; they are read again on request."""
        self._file.close()

    def _numbers(self, name: str, start: int, end: int, where: str) -> np.ndarray:
        rows = np.array(self._file[name][start:end])
        return reader_helpers.number_rows(rows, where=where, what=name, rows=end - start)

    def _frames(self, start: int, camera: str, rows: np.ndarray) -> Tensor:
        assert self._images is not None  # there is a camera
        images = self._file["observations"]
        block, back = reader_helpers.read_unique_rows(lambda part: np.asarray(images[part]), rows + start)
        return self._images.pixels(block, f"{self.path}: observations")[back]

    def _find_images(self) -> ImageArray | None:
        """Return the layout of the images in the observations; None if these are vectors.

        Raises:
            DataError: They are neither.
        """
        shape, dtype = self._file.shape("observations"), self._file.dtype("observations")
        if len(shape) <= 2:
            return None
        found = detect_images(
            "observations",
            self._file.spec("observations"),
            lambda: np.asarray(self._file["observations"][:_FIRST_ROWS]),
            stacked=True,
        )
        if isinstance(found, ImageArray):
            return found
        raise DataError(
            f"{self.path}: observations are neither vectors nor images that are read: "
            f"{found or f'{dtype} {list(shape)}'}. Store them as uint8 [rows, height, width, 3]."
        )

    def _left_out(self) -> dict[str, str]:
        """Return the arrays that are not read, with reasons."""
        rows = self._file.shape("actions")[0]
        known = (*_NEEDED, *self._state, *self._other_columns())
        return {
            name: f"{self._file.dtype(name)} {list(self._file.shape(name))}: no number or vector in each of {rows} rows"
            for name in self._file.names
            if name not in known
        }

    def _check_arrays(self) -> None:
        names = self._file.names
        missing = [name for name in _NEEDED if name not in names]
        if missing:
            raise DataError(
                f"{self.path} has no array '{missing[0]}'; it has: {', '.join(names)}. OGBench's files have "
                f"{', '.join(_NEEDED)}."
            )
        for name in _NEEDED:
            if self._file.dtype(name).kind not in "fiub" or not self._file.shape(name):
                raise DataError(
                    f"{self.path}: {name} holds {self._file.dtype(name)} of shape {self._file.shape(name)}, expected "
                    "numbers for each row. Copy the file again."
                )
        lengths = {name: self._file.shape(name)[0] for name in _NEEDED}
        if len(set(lengths.values())) != 1:
            found = ", ".join(f"{name} {count}" for name, count in lengths.items())
            raise DataError(f"{self.path}: arrays differ in rows: {found}. Copy the file again.")
        if not lengths["actions"]:
            raise DataError(f"{self.path} has no rows. Copy the file again.")

    def _choose_state(self, state: Sequence[str] | str | None) -> tuple[str, ...]:
        other = self._other_columns(())
        if state is None and not self.cameras:
            return ("observations",)
        if state is None:
            chosen = tuple(name for name in _STATE_OF_IMAGES if name in other)
        else:
            chosen = (state,) if isinstance(state, str) else tuple(state)
        available = [*other, *([] if self.cameras else ["observations"])]
        missing = [name for name in chosen if name not in available]
        if missing or not chosen:
            what = (
                f"no array '{missing[0]}'" if missing else f"images, and no {' or '.join(_STATE_OF_IMAGES)}"
            )
            raise DataError(
                f"{self.path} has {what} for the state. Choose with state= among: {', '.join(available) or 'none'}."
            )
        return chosen

    def _other_columns(self, used: tuple[str, ...] | None = None) -> list[str]:
        """Return the other arrays with a number or a vector for each row."""
        rows = self._file.shape("actions")[0]
        taken = (*_NEEDED, *(self._state if used is None else used))
        return [
            name
            for name in self._file.names
            if name not in taken
            and self._file.shape(name)[:1] == (rows,)
            and len(self._file.shape(name)) <= 2
            and self._file.dtype(name).kind in "fiub"
        ]

    def _split(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the first row of each episode and the row after its last; rows after the last terminal form one.

        Raises:
            DataError: A terminal is not a number.
        """
        rows = self._file.shape("terminals")[0]
        flags = np.asarray(self._file["terminals"]).reshape(rows, -1)
        if not np.isfinite(flags).all():
            raise DataError(
                f"{self.path}: terminals are not all finite; expected 0 or 1. Copy the file again."
            )
        ends = np.flatnonzero((flags != 0).any(axis=1)) + 1
        if not ends.size or ends[-1] != rows:
            ends = np.append(ends, rows)
        return np.concatenate([[0], ends[:-1]]), ends


def _width(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:], dtype=np.int64))
