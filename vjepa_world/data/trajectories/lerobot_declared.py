"""What a LeRobotDataset of ours says beyond the format: its convention, and the cameras' intrinsics.

`meta/vjepa_world.json` is {"convention": {...}, "intrinsics": {camera: 3x3}, "intrinsics_of_episodes": {index: {camera:
3x3}}}; the last has what differs from the first episode's. Other readers pass it over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from vjepa_world.data.trajectories.lerobot_format import DECLARED_PATH
from vjepa_world.data.trajectories.reading import read_json
from vjepa_world.errors import DataError, nearest
from vjepa_world.ops.convention import Convention

Matrices = Mapping[str, Sequence[Sequence[float]]]


@dataclass(frozen=True)
class Declared:
    """What a dataset says of itself; nothing, unless it is ours.

    Attributes:
        convention: How its numbers are written; None where it does not say.
        common: Intrinsics by camera [pixels], 3x3.
        special: By episode, those that differ.
    """

    convention: Convention | None = None
    common: Matrices = field(default_factory=dict)
    special: Mapping[int, Matrices] = field(default_factory=dict)

    def intrinsics(self, episode: int) -> dict[str, np.ndarray]:
        """Return the intrinsics of an episode by camera, float64 [3,3]."""
        matrices = {**self.common, **self.special.get(episode, {})}
        return {camera: np.array(matrix, np.float64) for camera, matrix in matrices.items()}


def read_declared(root: Path) -> Declared:
    """Read what a dataset declares.

    Raises:
        DataError: the file is there and broken.
        ConfigError: it declares no possible convention.
    """
    file = root / DECLARED_PATH
    if not file.is_file():
        return Declared()
    found = read_json(file)
    words = found.get("convention")
    known = [entry.name for entry in dataclasses.fields(Convention)]
    unknown = [name for name in words or () if name not in known]
    if unknown:
        raise DataError(f"{file}: convention has an unknown key '{unknown[0]}'; {nearest(unknown[0], known)}")
    return Declared(
        None if words is None else Convention(**words),
        found.get("intrinsics", {}),
        {int(index): matrices for index, matrices in found.get("intrinsics_of_episodes", {}).items()},
    )


def declaration(convention: Convention, intrinsics: Sequence[Matrices]) -> dict[str, Any]:
    """Return the file's content for episodes with these intrinsics, in order."""
    first = intrinsics[0] if intrinsics else {}
    special = {str(index): matrices for index, matrices in enumerate(intrinsics) if matrices != first}
    content = {"convention": dataclasses.asdict(convention), "intrinsics": first}
    return {**content, "intrinsics_of_episodes": special} if special else content
