"""Reads RLDS datasets such as Open X-Embodiment: TFRecord files with an episode in each record.

A feature `steps/NAME` holds the concatenated values of an episode; images are JPEG or PNG bytes.

Shapes: T observations of an episode, S state size, A action size.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.data.trajectories import reader_helpers
from vjepa_world.data.trajectories.formats.rlds.episode import RLDSEpisode, decode
from vjepa_world.data.trajectories.formats.rlds.known_datasets import find_known_dataset
from vjepa_world.data.trajectories.formats.rlds.tfrecord import index_records
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.files.validation import short
from vjepa_world.ops.convention import PLAIN, Convention

_FILE_NAME = re.compile(r".+\.tfrecords?(-\d+-of-\d+)?")
_FIRST_EPISODES = 4  # readable episodes in which blank cameras are searched


def is_rlds(path: Path) -> bool:
    """Return whether a path is a TFRecord file by its name, or a folder with some."""
    return bool(_FILE_NAME.fullmatch(path.name)) if path.is_file() else bool(_files(path, None))


class RLDSDataset:
    """The episodes of a TFRecord file, or of all TFRecord files in a folder, read on request.

    Args:
        path: The file, or the folder.
        convention: How states and actions are written; None takes that of a known dataset, or PLAIN.
        state: Names of the features that form the state, without `steps/`; None takes `observation/state`.
        action: Names of those that form the action; None takes `action`.
        cameras: Names of images under `observation/`; None takes all that are neither depth maps nor blank.
        fps: Observations per second, which the files do not contain; None takes that of a known dataset, or 5.
        split: Read only the files of this split (`NAME-SPLIT.tfrecord-...`); None reads all.

    Raises:
        DataError: There is no TFRecord file, no readable episode, or a feature is missing.
        ConfigError: `fps` is not a positive number.
    """

    format = "rlds"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        convention: Convention | None = None,
        state: Sequence[str] | str | None = None,
        action: Sequence[str] | str | None = None,
        cameras: Sequence[str] | None = None,
        fps: float | None = None,
        split: str | None = None,
    ) -> None:
        self.path = Path(path)
        self._files = _files(self.path, split)
        if not self._files:
            which = f" of split '{split}'" if split else ""
            raise DataError(
                f"{self.path} has no *.tfrecord file{which}. Give the folder that holds them, or one."
            )
        info = self._info()
        name = info.get("name")
        self._known = find_known_dataset(name if isinstance(name, str) and name else self._files[0].name)
        self.fps = reader_helpers.check_fps(fps, self._known.fps)
        self._records = [record for file in self._files for record in index_records(file)]
        self._state, self._action = _names(state, self._known.state), _names(action, self._known.action)
        first = reader_helpers.first_readable(self.num_episodes, self._first, self.path)
        self._state_sizes = [first.table(name).shape[1] for name in self._state]
        self._action_sizes = [first.table(name).shape[1] for name in self._action]
        self.state_names = reader_helpers.number_names(_short(self._state), self._state_sizes)
        self.action_names = reader_helpers.number_names(_short(self._action), self._action_sizes)
        self.cameras = reader_helpers.choose_cameras(cameras, first.images, self.path)
        blank = self._blank() if cameras is None else set()
        depth = {name for name in self.cameras if first.is_depth(name)} if cameras is None else set()
        self.cameras = tuple(name for name in self.cameras if name not in depth | blank)
        self._left_out = first.left_out((*self._state, *self._action)) | {
            f"observation/{name}": "a depth map, no colour image" for name in sorted(depth)
        }
        fits = state is None and len(self.state_names) == self._known.state_size
        self.convention = convention or (self._known.convention if fits else PLAIN)
        self.about = self._describe(info, fits=fits, fps=fps, convention=convention, blank=blank)

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self._records)

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its record is read and its checksum compared now, images are decoded on request.

        Raises:
            DataError: There is no such episode, the record is damaged, a feature is missing or has another size, or a
                number is not finite.
        """
        reader_helpers.check_index(self.path, index, self.num_episodes)
        record = self._records[index]
        episode = RLDSEpisode.read(record)
        reader_helpers.check_length(episode.num_rows, str(record))
        pairs = zip(self._action, self._action_sizes, strict=True)
        actions = reader_helpers.concatenate_columns([episode.table(name, size) for name, size in pairs])
        pairs = zip(self._state, self._state_sizes, strict=True)
        spans = {name: episode.spans(name) for name in self.cameras}
        return Trajectory(
            index=index,
            name=str(record),
            fps=self.fps,
            states=reader_helpers.concatenate_columns([episode.table(name, size) for name, size in pairs]),
            actions=actions[:-1],  # the last row's action leads to no observation
            timestamps_s=np.arange(episode.num_rows) / self.fps,
            cameras=self.cameras,
            load_frames=functools.partial(decode, record, spans),
            task=episode.task,
            success=episode.success,
            columns=episode.other_columns((*self._state, *self._action)),
            last_action=actions[-1],
        )

    def fingerprint(self) -> str:
        """Return a hash that changes when the files do."""
        return reader_helpers.fingerprint(self._files, self.path)

    def close(self) -> None:
        """Do nothing: no file stays open between reads."""

    def _first(self, index: int) -> RLDSEpisode:
        """Return an episode, after checking that it has the state and the action."""
        episode = RLDSEpisode.read(self._records[index])
        for name in (*self._state, *self._action):
            episode.table(name)
        return episode

    def _blank(self) -> set[str]:
        """Return the cameras that are blank in all of the first readable episodes."""

        def blank(index: int) -> set[str]:
            episode = RLDSEpisode.read(self._records[index])
            return {name for name in self.cameras if episode.is_blank(name)}

        return set.intersection(
            *reader_helpers.some_readable(self.num_episodes, blank, self.path, most=_FIRST_EPISODES)
        )

    def _info(self) -> dict[str, Any]:
        """Return `dataset_info.json`, which TensorFlow Datasets writes next to the files; {} if there is none."""
        file = self._files[0].parent / "dataset_info.json"
        return dict(reader_helpers.read_json(file)) if file.is_file() else {}

    def _describe(
        self,
        info: dict[str, Any],
        *,
        fits: bool,
        fps: float | None,
        convention: Convention | None,
        blank: set[str],
    ) -> dict[str, Any]:
        from_name = self._known.reason
        return {
            "files": len(self._files),
            **{key: short(info[key]) for key in ("name", "version") if info.get(key)},
            "frame rate from": "fps=" if fps is not None else from_name,
            **({"left_out": self._left_out} if self._left_out else {}),
            **({"empty cameras (all frames black)": ", ".join(sorted(blank))} if blank else {}),
            "convention from": "convention=" if convention else (from_name if fits else "PLAIN: not known"),
        }


def _files(path: Path, split: str | None) -> list[Path]:
    if path.is_file():
        return [path]
    found = sorted(file for file in path.glob("*.tfrecord*") if _FILE_NAME.fullmatch(file.name))
    return [file for file in found if split is None or f"-{split}.tfrecord" in file.name]


def _names(given: Sequence[str] | str | None, usual: tuple[str, ...]) -> tuple[str, ...]:
    if given is None:
        return usual
    return (given,) if isinstance(given, str) else tuple(given)


def _short(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("observation/") for name in names]
