"""`inspect`: say what a path holds: a checkpoint or run, trajectories of a robot, or a corpus of videos or images."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.checkpoint_options import add_checkpoint_options, reading_options
from vjepa_world.cli.shared.dataset_options import DatasetOptions, add_dataset_options, dataset_options
from vjepa_world.errors import ConfigError, DataError, VJEPAWorldError

if TYPE_CHECKING:
    from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
    from vjepa_world.ops.convention import Convention


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Describe a corpus of videos or images, trajectories of a robot or a checkpoint."
    )
    parser.add_argument(
        "path",
        type=Path,
        help="a checkpoint or run folder, a dataset, a folder, a glob, a CSV or Parquet list, tar shards",
    )
    add_checkpoint_options(parser)
    add_dataset_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the description.

    Raises:
        ConfigError: If an option is about something else than what the path holds, or its value is not allowed.
        CheckpointError: If a checkpoint is broken or unknown.
        DataError: If the path does not exist or holds nothing of the three.
    """
    try:
        print(describe(arguments.path, dataset_options(arguments), **reading_options(arguments)))
    except PictureError as error:
        print(error.description)
        raise


class PictureError(DataError):
    """A picture that was asked for by name cannot be written; `description` is what was found all the same."""

    def __init__(self, message: str, description: str) -> None:
        super().__init__(message)
        self.description = description


def describe(path: Path, options: DatasetOptions | None = None, **reading: Any) -> str:
    """Return the description of what a path holds.

    Args:
        path: A checkpoint, trajectories, videos or images.
        options: What is asked of trajectories.
        reading: What `read_checkpoint` is told of a checkpoint.
    """
    from vjepa_world.data.corpus.describe import describe_videos
    from vjepa_world.data.trajectories.registry import find_format
    from vjepa_world.pretrained.folder import CONFIG
    from vjepa_world.pretrained.meta.reader import is_meta
    from vjepa_world.pretrained.native import checkpoint_steps

    options = options or DatasetOptions()
    is_folder = path.is_dir() and ((path / CONFIG).is_file() or checkpoint_steps(path))
    if is_folder or (path.is_file() and is_meta(path)):
        _refuse(options.given, path, "trajectories")
        return describe_checkpoint(path, **reading)
    if not path.exists() and not any(mark in str(path) for mark in "*?[{"):
        raise DataError(f"{path} does not exist; give a checkpoint or run folder, a dataset, or videos.")
    if any(reading.values()):
        _refuse(("--weights and --config",), path, "a checkpoint")
    if find_format(path) is not None:
        return describe_trajectories(path, options)
    _refuse(options.given, path, "trajectories")
    return describe_videos(path).render()


def describe_trajectories(path: Path, options: DatasetOptions) -> str:
    """Return what a dataset holds and what is wrong with it, and write its picture.

    Raises:
        PictureError: If a picture that was named cannot be written; of another one it is said that it is missing.
    """
    from vjepa_world.data.trajectories.description import describe_dataset
    from vjepa_world.data.trajectories.description_text import dataset_text
    from vjepa_world.data.trajectories.registry import open_trajectories
    from vjepa_world.files.atomic import WriteError
    from vjepa_world.reports.theme import MissingLibraryError

    dataset = open_trajectories(path, **options.reader)
    try:
        convention = options.convention_over(dataset)
        description = describe_dataset(dataset, convention=convention, episodes=options.checks)
        usable = [index for index in range(dataset.num_episodes) if index not in description.bad]
        shown = usable[:1] if options.episode is None else [options.episode]
        named = options.picture is not None and options.picture.name != ""
        picture: Path | None = None
        problem: VJEPAWorldError | None = None
        if options.picture is not None and shown:
            target = options.picture if named else Path("runs") / "inspect" / f"{path.resolve().stem}.png"
            try:
                write_picture(dataset, shown[0], convention, target)
                picture = target
            except (DataError, MissingLibraryError) as error:
                if options.episode is not None and not isinstance(error, WriteError):
                    raise  # there is no such episode
                problem = error
    finally:
        dataset.close()
    if options.as_json:
        found = {**description.to_dict(), "picture": picture}
        text = json.dumps(found | ({"no_picture": str(problem)} if problem else {}), indent=2, default=str)
    else:
        text = dataset_text(description) + (f"\npicture: {picture}" if picture else "")
        text += f"\nno picture: {problem}" if problem else ""
    if problem is not None and named:
        raise PictureError(str(problem), text) from problem
    return text


def write_picture(dataset: TrajectoryDataset, index: int, convention: Convention, target: Path) -> None:
    """Write an episode's film strip and curves as a PNG file.

    Raises:
        DataError: If there is no such episode, it is unusable, or the file cannot be written.
    """
    from PIL import Image

    from vjepa_world.files.atomic import atomic_path
    from vjepa_world.reports.trajectory import trajectory_picture

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
        raise ConfigError(f"{', '.join(words)} are about {about}, and {path} holds none; leave them out.")


def describe_checkpoint(path: Path, **options: Any) -> str:
    """Return a checkpoint's kind, architecture, size, origin, and what of the file no model uses."""
    from vjepa_world.config import flatten
    from vjepa_world.pretrained import read_checkpoint

    checkpoint = read_checkpoint(path, **options)
    tensors = [tensor for part in checkpoint.tensors.values() for tensor in part.values()]
    types = sorted({str(tensor.dtype).removeprefix("torch.") for tensor in tensors})
    total = sum(tensor.numel() for tensor in tensors)
    lines = [f"{checkpoint.source}: {checkpoint.name}, {total / 1e6:.2f} M numbers ({', '.join(types)})"]
    for part, inside in checkpoint.tensors.items():
        lines.append(f"  {part}: {sum(tensor.numel() for tensor in inside.values()) / 1e6:.3f} M")
    parts = (
        ("world_model",) if checkpoint.world_model is not None else ("encoder", "masked_predictor", "probe")
    )
    for part in parts:
        config = getattr(checkpoint, part)
        if config is not None:
            lines += [f"architecture of the {part.replace('_', ' ')}:", *_rows(flatten(asdict(config)))]
    for name, values in checkpoint.details.items():
        if values:
            lines += [
                "made by:" if name == "provenance" else f"{name}:",
                *_rows(flatten(values) if isinstance(values, dict) else {"": values}),
            ]
    lines.append(f"unused: {', '.join(checkpoint.ignored) or 'nothing'}")
    return "\n".join(lines)


def _rows(values: dict[str, Any]) -> list[str]:
    width = max(map(len, values), default=0)
    return [f"  {key:<{width}}  {_shortened(value)}" for key, value in values.items()]


#: Entries of a list that are printed, at most: a checkpoint knows the fingerprints of all its episodes.
MOST_ENTRIES = 64


def _shortened(value: Any) -> Any:
    """Return a value as it is printed; of a long list the first entries and how many there are."""
    if isinstance(value, list | tuple) and len(value) > MOST_ENTRIES:
        first = ", ".join(map(repr, value[:3]))
        return f"[{first}, ...] ({len(value)} entries)"
    return value
