"""What a verb may be told of trajectories: how their numbers are written, how to read them and what to look at."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.arguments import whole_number
from vjepa_world.config.building import build
from vjepa_world.errors import ConfigError
from vjepa_world.ops.convention import Convention, resolve_joints

if TYPE_CHECKING:
    from vjepa_world.data.trajectories.trajectory import TrajectoryDataset


@dataclass(frozen=True, kw_only=True)
class DatasetOptions:
    """What `inspect` is asked of trajectories.

    Attributes:
        convention: Keys of `Convention` that are other than the dataset says.
        reader: Options of the format's reader, such as state, action, cameras and fps.
        picture: The PNG file; an empty path takes runs/inspect/NAME.png, None writes none.
        episode: Which one the picture shows; None takes the first usable one.
        checks: Episodes to look at; None takes all for the numbers and some for the frames.
        as_json: Answer in JSON.
        given: Words of the command line that are about trajectories.
    """

    convention: Mapping[str, Any] = field(default_factory=dict)
    reader: Mapping[str, Any] = field(default_factory=dict)
    picture: Path | None = Path()
    episode: int | None = None
    checks: int | None = None
    as_json: bool = False
    given: tuple[str, ...] = ()

    def convention_over(self, dataset: TrajectoryDataset) -> Convention:
        """Return a dataset's convention with what is given laid over it, see :func:`convention_over`."""
        return convention_over(dataset, self.convention)


def convention_over(dataset: TrajectoryDataset, given: Mapping[str, Any]) -> Convention:
    """Return the convention that a dataset declares with other keys laid over it; over ours where it declares nothing.

    Joints that are given take the place of a declared pose, and a pose that of declared joints.

    Raises:
        ConfigError: An unknown key or a value that is not allowed.
    """
    declared = dataset.convention
    if not given:
        return declared
    base = asdict(declared if declared.has_pose or declared.has_joints else Convention())
    if "joints" in given:
        base |= {"action_joints": ()}  # those of the joints that were declared
    if given.get("joints", "none") != "none":
        base |= {"position_at": ()}
    elif "position_at" in given and "joints" not in given:
        base |= {"joints": "none", "joint_units": (), "joint_speeds": (), "action_joints": ()}
    found: Convention = build(Convention, {**base, **given}, "convention", "--convention")
    return resolve_joints(found, dataset.state_names, dataset.action_names)


def add_dataset_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of trajectories."""
    group = parser.add_argument_group("trajectories of a robot")
    keys = ", ".join(entry.name for entry in fields(Convention))
    group.add_argument(
        "--convention",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help=f"how states and actions are written, where it is other than the dataset says: {keys}",
    )
    group.add_argument(
        "--reader",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what the format's reader is told: state=observation.joints, fps=10, ...",
    )
    group.add_argument("--picture", type=Path, help="the picture's PNG file (default: runs/inspect/NAME.png)")
    group.add_argument("--no-picture", action="store_true", help="write no picture")
    group.add_argument(
        "--episode",
        type=whole_number(0),
        metavar="N",
        help="which the picture shows (default: the first usable)",
    )
    group.add_argument(
        "--checks",
        type=whole_number(1),
        metavar="N",
        help="episodes to look at (default: all for numbers, 20 for frames)",
    )
    group.add_argument("--json", action="store_true", help="print JSON")


def dataset_options(arguments: argparse.Namespace) -> DatasetOptions:
    """Return what the command line asks of trajectories.

    Raises:
        ConfigError: A word is not KEY=VALUE, --picture goes with --no-picture or is no PNG, or --checks is less than 1.
    """
    if arguments.picture is not None and arguments.no_picture:
        raise ConfigError("--picture and --no-picture are given; leave one of them out.")
    if arguments.picture is not None and arguments.picture.suffix.lower() != ".png":
        raise ConfigError(f"--picture got {arguments.picture}; give the name of a .png file.")
    if arguments.checks is not None and arguments.checks < 1:
        raise ConfigError(f"--checks got {arguments.checks}; give at least 1 episode.")
    names = ("convention", "reader", "picture", "no_picture", "episode", "checks", "json")
    given = [name for name in names if getattr(arguments, name) not in (None, False, [])]
    return DatasetOptions(
        convention=key_values("convention", arguments.convention),
        reader=key_values("reader", arguments.reader),
        picture=None if arguments.no_picture else arguments.picture or Path(),
        episode=arguments.episode,
        checks=arguments.checks,
        as_json=arguments.json,
        given=tuple(f"--{name.replace('_', '-')}" for name in given),
    )


def key_values(option: str, words: Sequence[str]) -> dict[str, Any]:
    """Return `KEY=VALUE` words; numbers and lists as Python writes them, `a,b` as a list, anything else as a word."""
    pairs = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise ConfigError(f"--{option} got '{word}'; expected KEY=VALUE (and the path before it).")
        try:
            pairs[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            pairs[key] = value
    return pairs
