"""`convert`: bring a checkpoint, or a dataset of trajectories, from one format to another, bit by bit."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.arguments import number, whole_number
from vjepa_world.cli.shared.checkpoint_options import add_checkpoint_options, reading_options
from vjepa_world.config.ranges import WORKERS, span
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.folder_lock import locked_output
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from vjepa_world.ops.convention import Convention
    from vjepa_world.pretrained.checkpoint import Checkpoint

FORMATS = ("native", "huggingface", "meta")


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Convert a checkpoint between our format, transformers' and Meta's training files; or trajectories "
        "of any known format to a LeRobotDataset v3.0."
    )
    parser.add_argument(
        "source",
        help="a checkpoint or run folder, a Meta .pt file, a transformers folder or hub id; or a dataset of "
        "trajectories: LeRobot v3.0 or v2.1, DROID, robomimic, OGBench, RLDS",
    )
    parser.add_argument("destination", type=Path, help="a new folder, or for meta a new .pt file")
    parser.add_argument("--to", choices=FORMATS, help="checkpoints: the format to write")
    add_checkpoint_options(parser)
    parser.add_argument(
        "--convention",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="trajectories: how the numbers are written, where the dataset does not say: rotation=XYZ, angle_unit=deg, "
        "gripper_at=[6]",
    )
    parser.add_argument(
        "--reencode",
        action="store_true",
        help="trajectories: encode video anew instead of taking files as they are",
    )
    parser.add_argument(
        "--crf",
        type=whole_number(0, 51),
        default=18,
        help="trajectories: x264 quality of what is encoded, 0 lossless to 51 worst",
    )
    parser.add_argument(
        "--max-bad-fraction",
        type=number(0, 1),
        default=0.2,
        help="trajectories: share of unusable episodes to bear",
    )
    parser.add_argument(
        "--workers",
        type=whole_number(*span(WORKERS)),
        default=0,
        help="trajectories: processes; 0 takes one a core",
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the converted checkpoint or dataset.

    Raises:
        ConfigError: If `--config` names no architecture, a word of `--convention` is not known, or `--to` does not fit.
        CheckpointError: If the source cannot be read, the destination exists, or its format cannot hold the source.
        DataError: If trajectories cannot be read, or the destination is not theirs.
    """
    with locked_output(arguments.destination):
        if arguments.to is None:
            _convert_trajectories(arguments)
        else:
            _convert_checkpoint(arguments)


def _convert_checkpoint(arguments: argparse.Namespace) -> None:
    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.pretrained.huggingface.reader import write_huggingface
    from vjepa_world.pretrained.meta.reader import write_meta
    from vjepa_world.pretrained.native import write_native

    destination: Path = arguments.destination
    if destination.exists() or destination.is_symlink():
        raise CheckpointError(f"{destination} exists; give a new name, or remove it first.")
    try:
        checkpoint = read_checkpoint(arguments.source, **reading_options(arguments))
    except CheckpointError as error:
        _refuse_trajectories(arguments, error)
        raise
    write = {"native": write_native, "huggingface": write_huggingface, "meta": write_meta}[arguments.to]
    write(checkpoint, destination)
    count = sum(tensor.numel() for part in checkpoint.tensors.values() for tensor in part.values())
    summary = f"{checkpoint.source} ({checkpoint.name}) -> {destination} ({arguments.to}), {count / 1e6:.2f} M numbers"
    ignored, expected = checkpoint.ignored, _described(checkpoint)
    del checkpoint  # its memory is needed to read what was written
    _read_back(expected, destination, reading_options(arguments))
    print(summary)
    if ignored:
        print(f"left behind, since no model uses them: {', '.join(ignored)}")


def _described(checkpoint: Checkpoint) -> dict[str, str]:
    """Return the type and shape of each tensor by its part and name."""
    return {
        f"{part}.{name}": f"{tensor.dtype} {list(tensor.shape)}"
        for part, tensors in checkpoint.tensors.items()
        for name, tensor in tensors.items()
    }


def _read_back(expected: dict[str, str], destination: Path, options: dict[str, Any]) -> None:
    """Check that a written checkpoint is there with every tensor that was to be written, in its type and shape.

    Raises:
        CheckpointError: It cannot be read, or a tensor is missing or another; it is removed.
    """
    from vjepa_world.pretrained import read_checkpoint

    try:
        # What the source's file did not tell, a file of the same format does not tell either.
        written = _described(read_checkpoint(destination, **{**options, "weights": None}))
        wrong = [name for name, words in expected.items() if written.get(name) != words]
        if wrong:
            raise CheckpointError(
                f"{len(wrong)} of {len(expected)} tensors differ, the first {wrong[0]}: it is "
                f"{written.get(wrong[0], 'missing')}, expected {expected[wrong[0]]}."
            )
    except CheckpointError as error:
        _remove(destination)
        raise CheckpointError(
            f"{destination} was written, but does not read back as it should, and is removed: {error} Look at the "
            "disk, and convert again."
        ) from error


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _refuse_trajectories(arguments: argparse.Namespace, error: CheckpointError) -> None:
    # Looked at last: what reads trajectories takes more memory than many a checkpoint.
    from vjepa_world.data.trajectories.registry import is_trajectories

    if is_trajectories(arguments.source):
        raise ConfigError(
            f"--to {arguments.to} is a format of checkpoints, and {arguments.source} holds trajectories; leave it out: "
            "they become a LeRobotDataset v3.0."
        ) from error


def _convert_trajectories(arguments: argparse.Namespace) -> None:
    from vjepa_world.data.trajectories.convert import BAD_FILE, ConversionConfig, convert_trajectories
    from vjepa_world.data.trajectories.registry import is_trajectories

    if Path(arguments.source).exists() and not is_trajectories(arguments.source):
        raise ConfigError(
            f"{arguments.source} holds no trajectories of a known format; for a checkpoint say what to write: --to "
            f"{', '.join(FORMATS)}."
        )
    if not 0 <= arguments.crf <= 51:
        raise ConfigError(f"--crf is {arguments.crf}; allowed is 0 (lossless) to 51 (worst).")
    if not 0 <= arguments.max_bad_fraction < 1:
        raise ConfigError(f"--max-bad-fraction is {arguments.max_bad_fraction}; allowed is 0 to below 1.")
    conversion = ConversionConfig(
        source=Path(arguments.source),
        destination=arguments.destination,
        convention=_convention(arguments.source, arguments.convention),
        reencode=arguments.reencode,
        crf=arguments.crf,
    )
    with progress("convert", unit="episode") as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None and done:
                bar.reset(total)
            bar.update(done - bar.n)

        converted = convert_trajectories(
            conversion,
            max_bad_fraction=arguments.max_bad_fraction,
            workers=arguments.workers,
            progress=show,
        )
    print(f"{converted.episodes} episodes, {converted.frames} frames in {arguments.destination}")
    if converted.bad:
        print(f"{len(converted.bad)} episodes left out: {arguments.destination / BAD_FILE}")
    if converted.left_out:
        print(f"left out besides ({len(converted.left_out)}):")
        for name, reason in converted.left_out.items():
            print(f"  {name}: {reason}")


def _convention(source: str, words: list[str]) -> Convention | None:
    """Return the dataset's convention with the fields that were given replaced; None where none was.

    Raises:
        ConfigError: If a word is not KEY=VALUE, or no convention comes of them.
    """
    from vjepa_world.cli.shared.dataset_options import convention_over, key_values
    from vjepa_world.data.trajectories.registry import open_trajectories

    for word in words:
        if "=" not in word:
            raise ConfigError(f"--convention got '{word}', expected KEY=VALUE, such as rotation=XYZ.")
    if not words:
        return None
    dataset = open_trajectories(source)
    try:
        return convention_over(dataset, key_values("convention", words))
    finally:
        dataset.close()
