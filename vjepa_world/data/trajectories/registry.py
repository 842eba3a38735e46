"""The formats of trajectories: which there are, which one a path is of, and how to register another.

A package of someone else registers a reader, and declares an entry point of the same name in its `pyproject.toml`:

    @register_format("mylog", description="a *.mylog file", recognises=lambda path: path.suffix == ".mylog")
    def read_mylog(path: Path, *, convention: Convention | None = None) -> TrajectoryDataset: ...

    [project.entry-points."vjepa_world.formats"]
    mylog = "my_package.mylog:read_mylog"

From then on `data.path=FILE.mylog` and all commands that read trajectories take such files.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from vjepa_world.data.trajectories.convention_inference import infer_convention
from vjepa_world.data.trajectories.formats.droid import DROIDDataset
from vjepa_world.data.trajectories.formats.droid_folders import is_droid
from vjepa_world.data.trajectories.formats.lerobot.metadata import is_lerobot
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.ogbench import OGBenchDataset, is_ogbench
from vjepa_world.data.trajectories.formats.rlds.reader import RLDSDataset, is_rlds
from vjepa_world.data.trajectories.formats.robomimic import RobomimicDataset, is_robomimic
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError, VJEPAWorldError, nearest
from vjepa_world.ops.convention import Convention
from vjepa_world.registry import Registry, RegistryError

#: Files that are robot data or nothing that is read here.
ROBOT_DATA_SUFFIXES = (".npz", ".h5", ".hdf5", ".tfrecord")

#: Entries of a folder that are tried as datasets, at most.
_MOST_TRIED = 200

_Reader = TypeVar("_Reader", bound=Callable[..., TrajectoryDataset])


@dataclass(frozen=True)
class Format:
    """A format of trajectories.

    Attributes:
        name: What it is called.
        description: What a path of this format looks like, in words.
        recognises: Returns whether an existing path has this format; reads no more than it must.
        reader: Opens a path: `reader(path, *, convention=None, **options)`.
    """

    name: str
    description: str
    recognises: Callable[[Path], bool]
    reader: Callable[..., TrajectoryDataset]

    @property
    def options(self) -> tuple[str, ...]:
        """The reader's options besides the path and the convention."""
        return tuple(
            name for name in inspect.signature(self.reader).parameters if name not in ("path", "convention")
        )


#: The formats of this package, in the order in which they are tried. DROID is last: it searches folders.
_BUILT_IN = (
    Format("LeRobot", "a folder with meta/info.json (v3.0, v2.1)", is_lerobot, LeRobotDataset),
    Format("RLDS", "a *.tfrecord file, or a folder with some", is_rlds, RLDSDataset),
    Format("robomimic", "an HDF5 file with data/demo_0, ...", is_robomimic, RobomimicDataset),
    Format("OGBench", "an npz file with observations, actions and terminals", is_ogbench, OGBenchDataset),
    Format("DROID", "a folder above trajectory.h5 files, or a CSV list of theirs", is_droid, DROIDDataset),
)

#: All formats by name, those of installed packages included.
FORMATS: Registry[Format] = Registry("format", group="vjepa_world.formats")
for _format in _BUILT_IN:
    FORMATS.add(_format.name, _format)


def register_format(
    name: str, *, description: str, recognises: Callable[[Path], bool]
) -> Callable[[_Reader], _Reader]:
    """Return a decorator that registers a reader class or function as a format of trajectories.

    Registered formats are tried before those of this package, in the order of registration.

    Args:
        name: What the format is called.
        description: What a path of this format looks like, in words: "a *.mylog file".
        recognises: Returns whether an existing path has this format. It must be quick, and false for other files.

    Raises:
        RegistryError: If the name is taken.
    """

    def register(reader: _Reader) -> _Reader:
        FORMATS.add(name, Format(name, description, recognises, reader))
        return reader

    return register


def formats() -> list[Format]:
    """Return all formats in the order in which they are tried: those of other packages first.

    Raises:
        RegistryError: If an installed package's format cannot be imported, or registers another name.
    """
    found = [FORMATS[name] for name in FORMATS]
    for entry in found:
        if not isinstance(entry, Format):
            raise RegistryError(
                f"the entry point of the format {entry!r} registers no format of its name; name the entry point as "
                "register_format does."
            )
    return sorted(found, key=_BUILT_IN.__contains__)


def find_format(path: str | os.PathLike[str]) -> Format | None:
    """Return the format of the file or folder at `path`; None if it is of no known format.

    Raises:
        DataError: It is an HDF5 file, and h5py is not installed, or it is truncated.
    """
    location = Path(path)
    return next((entry for entry in formats() if location.exists() and entry.recognises(location)), None)


def robot_logs_in(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the datasets directly inside of a folder that is none itself: the format's name by the file's or folder's.

    Of large folders only the first entries are tried.
    """
    entries = sorted(itertools.islice(Path(folder).iterdir(), _MOST_TRIED)) if Path(folder).is_dir() else []
    found = {}
    for entry in entries:
        with contextlib.suppress(VJEPAWorldError, OSError):
            kind = find_format(entry)
            if kind is not None:
                found[entry.name] = kind.name
    return found


def is_trajectories(path: str | os.PathLike[str]) -> bool:
    """Return whether a dataset of a known format lies at `path`; damaged ones may not be recognised."""
    try:
        return find_format(path) is not None
    except DataError:
        return False


def open_trajectories(
    path: str | os.PathLike[str], *, convention: Convention | None = None, **options: Any
) -> TrajectoryDataset:
    """Open the trajectories at `path`; their format is found from the content.

    Args:
        path: A folder or a file of one of the `formats`.
        convention: How states and actions are written; None takes what the dataset declares, else the format's
            convention, else none. It is completed from names and numbers, see
            :func:`vjepa_world.data.trajectories.convention_inference.infer_convention`.
        options: The reader's own, such as `cameras`, `state` and `fps`.

    Raises:
        DataError: The path does not exist, is of no known format (they are listed), or is broken.
        ConfigError: The format's reader has no such option.
    """
    location = Path(path)
    if not location.exists():
        raise DataError(f"{location} does not exist. Give the folder or file of a dataset of trajectories.")
    found = find_format(location)
    if found is None:
        known = "\n  ".join(f"{entry.name}: {entry.description}" for entry in formats())
        raise DataError(
            f"{location} holds trajectories of no known format. Give one of these, or convert it:\n  {known}"
        )
    for name in options:
        if name not in found.options:
            raise ConfigError(
                f"{location} is {found.name}, whose reader has no option '{name}'; {nearest(name, found.options)}"
            )
    dataset: Any = found.reader(location, convention=convention, **options)
    dataset.convention = infer_convention(dataset, given=convention is not None)
    return cast("TrajectoryDataset", dataset)
