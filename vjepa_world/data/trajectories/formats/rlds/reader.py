"""Reads RLDS datasets, as Open X-Embodiment is published: TFRecord files with an episode in each record.

Every feature `steps/NAME` holds an episode's values one after the other, images are JPEG or PNG bytes.

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
_ASKED = 4  # readable episodes that are asked which cameras show nothing


def is_rlds(path: Path) -> bool:
    """Whether it is a TFRecord file by its name, or a folder with some."""
    return bool(_FILE_NAME.fullmatch(path.name)) if path.is_file() else bool(_files(path, None))


class RLDSDataset:
    """The episodes of a TFRecord file, or of all those in a folder, read when asked for.

    Args:
        path: The file, or the folder.
        convention: How states and actions are written; None takes what is known by the dataset's name, or PLAIN.
        state: Names of the features that make the state, without `steps/`; None takes `observation/state`.
        action: Those that make the action; None takes `action`.
        cameras: Images to read, as under `observation/`; None takes all that are not depth and show something.
        fps: Observations a second, which the files do not say; None takes what is known by the name, or 5.
        split: Read only the files of this split (`NAME-SPLIT.tfrecord-...`); None reads all.

    Raises:
        DataError: No TFRecord file, no readable episode, or features that are not there.
        ConfigError: `fps` is no positive number.
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
        """How many episodes there are."""
        return len(self._records)

    def episode(self, index: int) -> Trajectory:
        """Return an episode; its record is read and its checksum compared, images are decoded when asked for.

        Raises:
            DataError: No such episode, a damaged record, features missing or of another size, or a number that is
                not finite.
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
            actions=actions[:-1],  # the last row's leads to no observation
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
        """Return an episode that has the numbers asked for."""
        episode = RLDSEpisode.read(self._records[index])
        for name in (*self._state, *self._action):
            episode.table(name)
        return episode

    def _blank(self) -> set[str]:
        """Return the cameras that show nothing in any of the first readable episodes."""

        def blank(index: int) -> set[str]:
            episode = RLDSEpisode.read(self._records[index])
            return {name for name in self.cameras if episode.is_blank(name)}

        return set.intersection(
            *reader_helpers.some_readable(self.num_episodes, blank, self.path, most=_ASKED)
        )

    def _info(self) -> dict[str, Any]:
        """Return `dataset_info.json`, which TensorFlow Datasets writes beside the files; {} where it is not there."""
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
            "fps from": "fps=" if fps is not None else from_name,
            **({"left_out": self._left_out} if self._left_out else {}),
            **({"cameras that show nothing": ", ".join(sorted(blank))} if blank else {}),
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
