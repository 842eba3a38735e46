"""`inspect`: say what a path holds: a checkpoint or run, trajectories of a robot, or a corpus of videos or images."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.checkpoint_options import MetaWeights, reading_options
from vjepa_world.cli.shared.conventions import convention_over
from vjepa_world.config.ranges import AT_LEAST_ONE, LARGEST
from vjepa_world.errors import ConfigError, DataError, VJEPAWorldError

if TYPE_CHECKING:
    from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
    from vjepa_world.ops.convention import Convention


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to describe.

    Attributes:
        path: A checkpoint or run folder, a dataset, a folder, a glob, a CSV or Parquet list, tar shards.
        weights: Of a Meta file, which encoder; null for the one that the reference uses.
        encoder: Of a checkpoint, the architecture where the file does not contain it, such as encoder.num_heads=8.
        predictor: The same of the predictor, such as predictor.num_heads=12.
        details: Of a checkpoint, whether to print every setting instead of a summary.
        convention: Of trajectories, how states and actions are written where it is other than the dataset declares.
        reader: Of trajectories, options of the format's reader: reader.state=observation.joints, reader.fps=10.
        picture: Of trajectories, the PNG file of an episode's picture; null for runs/inspect/NAME.png.
        no_picture: Of trajectories, whether to write no picture.
        episode: Of trajectories, the episode in the picture; null for the first usable one.
        checks: Of trajectories, episodes to check; null for all episodes' numbers and the frames of 20.
        json: Of trajectories, whether to print JSON.
    """

    path: Path = field(metadata={"example": "PATH"})
    weights: MetaWeights | None = None
    encoder: dict[str, Any] = field(default_factory=dict)
    predictor: dict[str, Any] = field(default_factory=dict)
    details: bool = False
    convention: dict[str, Any] = field(default_factory=dict)
    reader: dict[str, Any] = field(default_factory=dict)
    picture: Path | None = None
    no_picture: bool = False
    episode: int | None = field(default=None, metadata={"range": (0, LARGEST)})
    checks: int | None = field(default=None, metadata=AT_LEAST_ONE)
    json: bool = False

    def __post_init__(self) -> None:
        if self.picture is not None and self.no_picture:
            raise ConfigError("picture and no_picture are given; leave one of them out.")
        if self.picture is not None and self.picture.suffix.lower() != ".png":
            raise ConfigError(f"picture got {self.picture}; give the name of a .png file.")

    def given(self, *names: str) -> list[str]:
        """Return those of the options that have another value than their default."""
        plain = Config(path=self.path)
        return [name for name in names if getattr(self, name) != getattr(plain, name)]


#: Options about a checkpoint, and about trajectories.
CHECKPOINT = ("weights", "encoder", "predictor", "details")
TRAJECTORIES = ("convention", "reader", "picture", "no_picture", "episode", "checks", "json")


def run(config: Config) -> None:
    """Print the description.

    Raises:
        ConfigError: If an option is about something else than what the path holds, or its value is not allowed.
        CheckpointError: If a checkpoint is broken or unknown.
        DataError: If the path does not exist or holds nothing of the three.
    """
    try:
        print(describe(config))
    except PictureError as error:
        print(error.description)
        raise


class PictureError(DataError):
    """A picture that was asked for by name cannot be written; `description` is what was found all the same."""

    def __init__(self, message: str, description: str) -> None:
        super().__init__(message)
        self.description = description


def describe(config: Config) -> str:
    """Return the description of a checkpoint, trajectories, videos or images."""
    from vjepa_world.data.corpus.describe import describe_videos
    from vjepa_world.data.trajectories.registry import (
        ROBOT_DATA_SUFFIXES,
        find_format,
        open_trajectories,
        robot_logs_in,
    )
    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.pretrained.folder import CONFIG
    from vjepa_world.pretrained.meta.reader import is_meta
    from vjepa_world.pretrained.native import checkpoint_steps
    from vjepa_world.reports.checkpoint_text import checkpoint_details, checkpoint_summary

    path = _shipped_path(config.path)
    is_folder = path.is_dir() and ((path / CONFIG).is_file() or checkpoint_steps(path))
    if is_folder or (path.is_file() and is_meta(path)) or _is_on_hub(path):
        _refuse(config.given(*TRAJECTORIES), path, "trajectories")
        checkpoint = read_checkpoint(path, **reading_options(config))
        return checkpoint_details(checkpoint) if config.details else checkpoint_summary(checkpoint)
    if not path.exists() and not any(mark in str(path) for mark in "*?[{"):
        raise DataError(f"{path} does not exist; give a checkpoint or run folder, a dataset, or videos.")
    _refuse(config.given(*CHECKPOINT), path, "a checkpoint")
    if find_format(path) is not None:
        return describe_trajectories(config)
    _refuse(config.given(*TRAJECTORIES), path, "trajectories")
    if path.suffix.lower() in ROBOT_DATA_SUFFIXES and path.is_file():
        open_trajectories(path)  # raises: it names the known formats
    logs = [f"{name} ({kind})" for name, kind in robot_logs_in(path).items()]
    note = (
        f"\n\nrobot data, not described here; inspect it by its own path: {', '.join(logs)}" if logs else ""
    )
    try:
        description = describe_videos(path)
    except DataError as error:
        _refuse_run_folders(path)
        raise DataError(f"{error}{note}") from error
    if path.is_file() and not (description.videos or description.images) and not _has_media_suffix(path):
        raise DataError(
            f"{path} is not a checkpoint, robot data, a video, an image or a list of them. Give a run or "
            "checkpoint folder, a released .pt file, a dataset, a folder of videos, or one of its files."
        )
    return description.render() + note


def _shipped_path(path: Path) -> Path:
    """Return the folder of a shipped model for the word that stands for it elsewhere."""
    from vjepa_world.pretrained.shipped import checkpoint_path

    return path if path.exists() else Path(checkpoint_path(str(path)))


def _is_on_hub(path: Path) -> bool:
    """Say whether a path that does not exist is `org/name` on the Hugging Face hub, not a mistyped file."""
    from vjepa_world.data.trajectories.registry import ROBOT_DATA_SUFFIXES
    from vjepa_world.pretrained.loading import is_hub_id

    is_file_name = path.suffix.lower() in (".csv", ".parquet", ".tar", ".pt", ".pth", *ROBOT_DATA_SUFFIXES)
    if is_file_name or _has_media_suffix(path) or path.parent.exists():
        return False
    return is_hub_id(path) and re.fullmatch(r"[\w./-]+", str(path)) is not None


def _has_media_suffix(path: Path) -> bool:
    from vjepa_world.data.corpus.corpus import EXTENSIONS, IMAGE_EXTENSIONS

    return path.suffix.lower() in (*EXTENSIONS, *IMAGE_EXTENSIONS)


def _refuse_run_folders(path: Path) -> None:
    """Refuse a run without a checkpoint, and a folder of runs, and say what they are."""
    from vjepa_world.runs import CONFIG_FILE

    if (path / CONFIG_FILE).is_file():
        files = ", ".join(sorted(inside.name for inside in path.iterdir() if not inside.name.startswith(".")))
        raise DataError(
            f"{path} is a run without a checkpoint; it has {files}. `vjepa-world report` shows its curves."
        )
    runs = sorted(config.parent.name for config in path.glob(f"*/{CONFIG_FILE}"))
    if runs:
        raise DataError(f"{path} is a folder of runs; inspect one of them: {', '.join(runs[:20])}")


def describe_trajectories(config: Config) -> str:
    """Return what a dataset holds and what is wrong with it, and write its picture.

    Raises:
        PictureError: If `picture` is given and cannot be written; without it the description names the reason.
    """
    from vjepa_world.data.trajectories.description import describe_dataset
    from vjepa_world.data.trajectories.description_text import dataset_text
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.files.atomic import WriteError
    from vjepa_world.reports.theme import MissingLibraryError

    dataset = open_trajectories(config.path, **config.reader)
    try:
        convention = convention_over(dataset, config.convention)
        description = describe_dataset(dataset, convention=convention, episodes=config.checks)
        usable = [index for index in range(dataset.num_episodes) if index not in description.bad]
        shown = usable[:1] if config.episode is None else [config.episode]
        picture: Path | None = None
        problem: VJEPAWorldError | None = None
        if not config.no_picture and shown:
            usual = Path("runs") / "inspect" / f"{config.path.resolve().stem}.png"
            target = usual if config.picture is None else config.picture
            try:
                write_picture(dataset, shown[0], convention, target)
                picture = target
            except (DataError, MissingLibraryError) as error:
                if config.episode is not None and not isinstance(error, WriteError):
                    raise  # there is no such episode
                problem = error
    finally:
        dataset.close()
    if config.json:
        found = {**description.to_dict(), "picture": picture}
        text = json.dumps(found | ({"no_picture": str(problem)} if problem else {}), indent=2, default=str)
    else:
        text = dataset_text(description) + (f"\npicture: {picture}" if picture else "")
        text += f"\nno picture: {problem}" if problem else ""
    if problem is not None and config.picture is not None:
        raise PictureError(str(problem), text) from problem
    return text


def write_picture(dataset: TrajectoryDataset, index: int, convention: Convention, target: Path) -> None:
    """Write an episode's film strip and curves as a PNG file.

    Raises:
        DataError: If there is no such episode, it is unusable, or the file cannot be written.
    """
    from PIL import Image

    from vjepa_world.files.atomic import atomic_path
    from vjepa_world.reports.plots.trajectory import trajectory_picture

    picture = trajectory_picture(
        dataset.episode(index),
        convention,
        title=dataset.path.name,
        state_names=dataset.state_names,
        action_names=dataset.action_names,
    )
    with atomic_path(target) as temporary:
        Image.fromarray(picture).save(temporary, "PNG")


def _refuse(words: Sequence[str], path: Path, about: str) -> None:
    """Refuse options that are about something else than what the path holds."""
    if words:
        raise ConfigError(
            f"{', '.join(words)} {'is' if len(words) == 1 else 'are'} about {about}, and {path} holds none; leave "
            f"{'it' if len(words) == 1 else 'them'} out."
        )
