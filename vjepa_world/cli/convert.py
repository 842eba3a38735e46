"""`convert`: bring a checkpoint, or a dataset of trajectories, from one format to another, bit by bit."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from vjepa_world.cli.shared.checkpoint_options import MetaWeights, reading_options
from vjepa_world.config.ranges import SHARE, WORKERS
from vjepa_world.errors import CheckpointError, ConfigError, counted
from vjepa_world.files.folder_lock import locked_output
from vjepa_world.system.progress import progress

if TYPE_CHECKING:
    from vjepa_world.ops.convention import Convention
    from vjepa_world.pretrained.checkpoint import Checkpoint


CheckpointFormat = Literal["native", "huggingface", "meta"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to convert, and how.

    Attributes:
        source: A checkpoint or run folder, a Meta .pt file, a transformers folder or hub id; or a dataset of
            trajectories: LeRobot v3.0 or v2.1, DROID, robomimic, OGBench, RLDS.
        destination: A new folder, or for meta a new .pt file.
        to: Of a checkpoint, the format to write; null for trajectories, which become a LeRobotDataset v3.0.
        weights: Of a Meta file, which encoder; null for the one that the reference uses.
        encoder: Of a checkpoint, the architecture where the file does not contain it, such as encoder.num_heads=8.
        predictor: The same of the predictor, such as predictor.num_heads=12.
        convention: Of trajectories, how the numbers are written where the dataset does not declare it:
            convention.rotation=XYZ, convention.angle_unit=deg, convention.gripper_at=[6].
        reencode: Of trajectories, whether to encode videos again instead of copying the files.
        crf: Of trajectories, the x264 quality of what is encoded, 0 (lossless) to 51 (worst).
        max_bad_fraction: Of trajectories, the largest accepted share of unusable episodes.
        workers: Of trajectories, processes; 0 takes one a core.
    """

    source: str = field(metadata={"example": "PATH"})
    destination: Path = field(metadata={"example": "PATH"})
    to: CheckpointFormat | None = None
    weights: MetaWeights | None = None
    encoder: dict[str, Any] = field(default_factory=dict)
    predictor: dict[str, Any] = field(default_factory=dict)
    convention: dict[str, Any] = field(default_factory=dict)
    reencode: bool = False
    crf: int = field(default=18, metadata={"range": (0, 51)})
    max_bad_fraction: float = field(default=0.2, metadata=SHARE)
    workers: int = field(default=0, metadata=WORKERS)

    def __post_init__(self) -> None:
        if self.max_bad_fraction == 1:
            raise ConfigError("max_bad_fraction is 1; allowed is 0 to below 1.")

    def unused(self) -> dict[str, str]:
        """Return the options that are about checkpoints where trajectories are converted, and the other way round."""
        if self.to is None:
            return dict.fromkeys(
                ("weights", "encoder", "predictor"), "a conversion of trajectories (to is not given)"
            )
        keys = ("convention", "reencode", "crf", "max_bad_fraction", "workers")
        return dict.fromkeys(keys, f"a conversion of a checkpoint (to={self.to})")


def run(config: Config) -> None:
    """Write the converted checkpoint or dataset.

    Raises:
        ConfigError: If a key of an architecture or of the convention is not known, or `to` does not fit.
        CheckpointError: If the source cannot be read, the destination exists, or its format cannot hold the source.
        DataError: If trajectories cannot be read, or the destination is not theirs.
    """
    with locked_output(config.destination):
        if config.to is None:
            _convert_trajectories(config)
        else:
            _convert_checkpoint(config, config.to)


def _convert_checkpoint(config: Config, to: CheckpointFormat) -> None:
    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.pretrained.huggingface.reader import write_huggingface
    from vjepa_world.pretrained.meta.reader import write_meta
    from vjepa_world.pretrained.native import write_native

    destination: Path = config.destination
    if destination.exists() or destination.is_symlink():
        raise CheckpointError(f"{destination} exists; give a new name, or remove it first.")
    try:
        checkpoint = read_checkpoint(config.source, **reading_options(config))
    except CheckpointError as error:
        _refuse_trajectories(config, error)
        raise
    write = {"native": write_native, "huggingface": write_huggingface, "meta": write_meta}[to]
    write(checkpoint, destination)
    count = sum(tensor.numel() for part in checkpoint.tensors.values() for tensor in part.values())
    summary = f"{checkpoint.source} ({checkpoint.name}) -> {destination} ({to}), {count / 1e6:.2f} M numbers"
    ignored, expected = checkpoint.ignored, _described(checkpoint)
    del checkpoint  # its memory is needed to read what was written
    _read_back(expected, destination, reading_options(config))
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
        # Settings that the source's file lacks, a file of the same format lacks too.
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


def _refuse_trajectories(config: Config, error: CheckpointError) -> None:
    # Looked at last: what reads trajectories takes more memory than many a checkpoint.
    from vjepa_world.data.trajectories.registry import is_trajectories

    if is_trajectories(config.source):
        raise ConfigError(
            f"to={config.to} is a format of checkpoints, and {config.source} holds trajectories; leave it out: "
            "they become a LeRobotDataset v3.0."
        ) from error


def _convert_trajectories(config: Config) -> None:
    from vjepa_world.data.trajectories.convert import BAD_FILE, ConversionConfig, convert_trajectories
    from vjepa_world.data.trajectories.registry import is_trajectories

    if Path(config.source).exists() and not is_trajectories(config.source):
        raise ConfigError(
            f"{config.source} holds no trajectories of a known format; for a checkpoint say what to write: to="
            f"{', '.join(get_args(CheckpointFormat))}."
        )
    conversion = ConversionConfig(
        source=Path(config.source),
        destination=config.destination,
        convention=_convention(config.source, config.convention),
        reencode=config.reencode,
        crf=config.crf,
    )
    with progress("convert", unit="episode") as bar:

        def show(done: int, total: int) -> None:
            if bar.total is None and done:
                bar.reset(total)
            bar.update(done - bar.n)

        converted = convert_trajectories(
            conversion,
            max_bad_fraction=config.max_bad_fraction,
            workers=config.workers,
            progress=show,
        )
    print(
        f"{counted(converted.episodes, 'episode')}, {counted(converted.frames, 'frame')} in {config.destination}"
    )
    if converted.bad:
        print(f"{counted(len(converted.bad), 'episode')} left out: {config.destination / BAD_FILE}")
    if converted.left_out:
        print(f"also left out ({len(converted.left_out)}):")
        for name, reason in converted.left_out.items():
            print(f"  {name}: {reason}")


def _convention(source: str, given: dict[str, Any]) -> Convention | None:
    """Return the dataset's convention with the given fields replaced; None where none is given.

    Raises:
        ConfigError: If a field is unknown, or its value is not allowed.
    """
    from vjepa_world.cli.shared.conventions import convention_over
    from vjepa_world.data.trajectories.registry import open_trajectories

    if not given:
        return None
    dataset = open_trajectories(source)
    try:
        return convention_over(dataset, given)
    finally:
        dataset.close()
