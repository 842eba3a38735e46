"""Opens trajectories of any known format, which is found from the content."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from vjepa_world.data.trajectories.base import TrajectoryDataset
from vjepa_world.data.trajectories.formats.droid import DROIDDataset
from vjepa_world.data.trajectories.formats.droid_folders import is_droid
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset, is_lerobot
from vjepa_world.data.trajectories.formats.ogbench import OGBenchDataset, is_ogbench
from vjepa_world.data.trajectories.formats.rlds.reader import RLDSDataset, is_rlds
from vjepa_world.data.trajectories.formats.robomimic import RobomimicDataset, is_robomimic
from vjepa_world.data.trajectories.joint_actions import with_likely_actions
from vjepa_world.errors import ConfigError, DataError, nearest
from vjepa_world.ops.convention import PLAIN, Convention, resolve_joints, same_names


@dataclass(frozen=True)
class Format:
    """A format of trajectories.

    Attributes:
        name: What it is called.
        looks: What a path of it looks like, in words.
        recognises: Whether a path is one; looks at no more than it must.
        reader: Makes the dataset.
    """

    name: str
    looks: str
    recognises: Callable[[Path], bool]
    reader: Callable[..., TrajectoryDataset]

    @property
    def options(self) -> tuple[str, ...]:
        """What the reader may be told beside the path and the convention."""
        return tuple(
            name for name in inspect.signature(self.reader).parameters if name not in ("path", "convention")
        )


#: Every format that is read; the first that recognises a path reads it. DROID comes last: it looks into all folders.
FORMATS = (
    Format("LeRobot", "a folder with meta/info.json (v3.0, v2.1)", is_lerobot, LeRobotDataset),
    Format("RLDS", "a *.tfrecord file, or a folder with some", is_rlds, RLDSDataset),
    Format("robomimic", "an HDF5 file with data/demo_0, ...", is_robomimic, RobomimicDataset),
    Format("OGBench", "an npz file with observations, actions and terminals", is_ogbench, OGBenchDataset),
    Format("DROID", "a folder above trajectory.h5 files, or a CSV list of theirs", is_droid, DROIDDataset),
)


def find_format(path: str | os.PathLike[str]) -> Format | None:
    """Return the format of what lies at `path`; None where it is none that is known.

    Raises:
        DataError: It is an HDF5 file, and h5py is not installed, or it is truncated.
    """
    place = Path(path)
    return next((entry for entry in FORMATS if place.exists() and entry.recognises(place)), None)


def is_trajectories(path: str | os.PathLike[str]) -> bool:
    """Whether trajectories of a known format lie at `path`; damaged ones may not be recognised."""
    try:
        return find_format(path) is not None
    except DataError:
        return False


def open_trajectories(
    path: str | os.PathLike[str], *, convention: Convention | None = None, **options: Any
) -> TrajectoryDataset:
    """Open the trajectories at `path`, of whatever format they are.

    Args:
        path: A folder or a file, see `FORMATS`.
        convention: How states and actions are written; None takes what the dataset declares, else its format's own
            way, else they are taken as they are. Whether states are joints may follow from their names
            (:func:`vjepa_world.ops.convention.resolve_joints`), and what actions of the same names are from the first
            episodes' numbers (:mod:`vjepa_world.data.trajectories.joint_actions`).
        options: The reader's own, such as `cameras`, `state` and `fps`.

    Raises:
        DataError: Nothing is there, it is of no known format (they are listed), or it is broken.
        ConfigError: The format's reader has no such option.
    """
    place = Path(path)
    if not place.exists():
        raise DataError(f"{place} does not exist. Give the folder or file of a dataset of trajectories.")
    found = find_format(place)
    if found is None:
        known = "\n  ".join(f"{entry.name}: {entry.looks}" for entry in FORMATS)
        raise DataError(
            f"{place} holds trajectories of no known format. Give one of these, or convert it:\n  {known}"
        )
    for name in options:
        if name not in found.options:
            raise ConfigError(
                f"{place} is {found.name}, whose reader has no option '{name}'; {nearest(name, found.options)}"
            )
    dataset: Any = found.reader(place, convention=convention, **options)
    # Names are known once it is open.
    unknown = convention is None and dataset.convention == PLAIN
    dataset.convention = resolve_joints(dataset.convention, dataset.state_names, dataset.action_names)
    if unknown and dataset.convention.has_joints and same_names(dataset.state_names, dataset.action_names):
        dataset.convention = with_likely_actions(dataset)
    return cast("TrajectoryDataset", dataset)
