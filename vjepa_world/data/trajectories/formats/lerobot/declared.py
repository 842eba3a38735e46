"""`meta/vjepa_world.json`, our addition to a LeRobotDataset: convention, cameras' intrinsics, recorded environment.

It is {"convention": {...}, "intrinsics": {camera: 3x3}, "intrinsics_of_episodes": {index: {camera: 3x3}}}; the last has
the episodes that differ from the first. Recordings of an environment also have {"environment": {"id": ...,
"kwargs": ..., ...}, "episode_seeds": [...]}, from which its episodes can be repeated. Other readers ignore the file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.formats.lerobot.layout import DECLARED_PATH
from vjepa_world.data.trajectories.reader_helpers import read_json
from vjepa_world.data.trajectories.safe_paths import ContainedFolder
from vjepa_world.errors import ConfigError, DataError, nearest
from vjepa_world.files.validation import whole_number
from vjepa_world.ops.convention import Convention

_MOST_VALUE = 1e12
_MOST_SEED = 2**63 - 1

Matrices = Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Declared:
    """The declarations of a dataset; empty for datasets of other writers.

    Attributes:
        convention: How its numbers are written; None if not declared.
        common: Intrinsics by camera [pixels], 3x3.
        special: Intrinsics by episode, if they differ.
        environment: The environment that was recorded, as `EnvConfig.identity` describes it; empty if none was.
        seeds: The seed of each episode's reset; () if they are not known.
    """

    convention: Convention | None = None
    common: Matrices = field(default_factory=dict)
    special: Mapping[int, Matrices] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = ()

    def seed(self, episode: int) -> int | None:
        """Return the seed of an episode's reset; None if it is not known."""
        return self.seeds[episode] if episode < len(self.seeds) else None

    def intrinsics(self, episode: int) -> dict[str, np.ndarray]:
        """Return the intrinsics of an episode by camera [pixels], float64 `[3, 3]`."""
        matrices = {**self.common, **self.special.get(episode, {})}
        return {camera: np.array(matrix, np.float64) for camera, matrix in matrices.items()}


def read_declared(folder: ContainedFolder) -> Declared:
    """Read a dataset's declarations.

    Raises:
        DataError: The file is damaged, or declares an invalid convention or intrinsics.
    """
    file = folder.file(DECLARED_PATH)
    if not file.is_file():
        return Declared()
    found = read_json(file)
    special = _mapping(file, found.get("intrinsics_of_episodes"), "intrinsics_of_episodes")
    wrong = [index for index in special if not index.isdecimal() or len(index) > 18]
    if wrong:
        raise DataError(
            f"{file}: intrinsics_of_episodes has '{wrong[0][:40]}', expected an episode's number."
        )
    return Declared(
        _convention(file, found.get("convention")),
        _matrices(file, found.get("intrinsics")),
        {int(index): _matrices(file, matrices) for index, matrices in special.items()},
        _mapping(file, found.get("environment"), "environment"),
        _seeds(file, found.get("episode_seeds")),
    )


def _seeds(file: Path, found: object) -> tuple[int, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise DataError(
            f"{file}: episode_seeds is a {type(found).__name__}, expected a list. Copy the file again."
        )
    return tuple(
        whole_number(seed, f"{file}: a seed of episode_seeds", least=0, most=_MOST_SEED) for seed in found
    )


def _convention(file: Path, words: object) -> Convention | None:
    if words is None:
        return None
    words = _mapping(file, words, "convention")
    known = [entry.name for entry in dataclasses.fields(Convention)]
    unknown = [name for name in words if name not in known]
    if unknown:
        raise DataError(f"{file}: convention has an unknown key '{unknown[0]}'; {nearest(unknown[0], known)}")
    defaults = dataclasses.asdict(Convention())
    for name, value in words.items():
        if not any(_is_like(value, example) for example in _EXAMPLES.get(name, (defaults[name],))):
            raise DataError(
                f"{file}: convention has {name} = {str(value)[:60]}, expected such as {defaults[name]}."
            )
    try:
        return Convention(**words)
    except ConfigError as error:
        raise DataError(f"{file}: its convention is invalid: {error}") from error


#: Keys whose values have one of several types.
_EXAMPLES: dict[str, tuple[object, ...]] = {
    "joints": ("auto", (0,)),
    "action_joints": ((0,),),
    "joint_units": ("", ("",)),
    "joint_speeds": (0.0, (0.0,)),
}


def _is_like(value: object, default: object) -> bool:
    """Return whether a JSON value has a default's type: a text, a finite number, or a list of these."""
    if isinstance(default, str):
        return isinstance(value, str)
    if isinstance(default, tuple):
        return isinstance(value, list) and all(_is_like(entry, default[0]) for entry in value)
    kind = (int, float) if isinstance(default, float) else (int,)
    return isinstance(value, kind) and not isinstance(value, bool) and abs(value) < _MOST_VALUE


def _matrices(file: Path, found: object) -> Matrices:
    matrices = _mapping(file, found, "intrinsics")
    for camera, matrix in matrices.items():
        try:
            values = np.array(matrix, np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (3, 3) or not np.isfinite(values).all():
            raise DataError(
                f"{file}: intrinsics of camera '{camera[:40]}' are {str(matrix)[:80]}, expected 3 rows of 3 numbers."
            )
    return matrices


def _mapping(file: Path, found: object, what: str) -> dict[str, Any]:
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise DataError(
            f"{file}: {what} is a {type(found).__name__}, expected an object. Copy the file again."
        )
    return found


def declaration(
    convention: Convention,
    intrinsics: Sequence[Matrices],
    *,
    environment: Mapping[str, Any],
    seeds: Sequence[int | None],
) -> dict[str, Any]:
    """Return the file's content, given the intrinsics and seeds of all episodes in order."""
    first = intrinsics[0] if intrinsics else {}
    special = {str(index): matrices for index, matrices in enumerate(intrinsics) if matrices != first}
    content: dict[str, Any] = {"convention": dataclasses.asdict(convention), "intrinsics": first}
    if special:
        content["intrinsics_of_episodes"] = special
    if environment:
        content["environment"] = dict(environment)
    if seeds and None not in seeds:
        content["episode_seeds"] = list(seeds)
    return content
