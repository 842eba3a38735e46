"""`inspect`: say what a path holds: a checkpoint or run, a LeRobot dataset, or a corpus of videos or images."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vjepa_world.errors import ConfigError, DataError
from vjepa_world.verbs.checkpoint_options import add_checkpoint_options, reading_options


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Describe a corpus of videos or images, a LeRobot dataset or a checkpoint."
    )
    parser.add_argument(
        "path",
        type=Path,
        help="a checkpoint or run folder, a dataset, a folder, a glob, a CSV or Parquet list, tar shards",
    )
    add_checkpoint_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the description.

    Raises:
        ConfigError: If `--config` names no architecture, or the path is no checkpoint.
        CheckpointError: If a checkpoint is broken or unknown.
        DataError: If the path does not exist or holds nothing of the three.
    """
    print(describe(arguments.path, **reading_options(arguments)))


def describe(path: Path, **options: Any) -> str:
    """Return the description of what a path holds; `options` are those of `read_checkpoint`."""
    from vjepa_world.data.describe import describe_dataset, describe_videos
    from vjepa_world.data.trajectories.lerobot import is_lerobot
    from vjepa_world.pretrained.folder import CONFIG
    from vjepa_world.pretrained.meta import is_meta
    from vjepa_world.pretrained.native import checkpoint_steps

    if path.is_dir() and ((path / CONFIG).is_file() or checkpoint_steps(path)):
        return describe_checkpoint(path, **options)
    if path.is_file() and is_meta(path):
        return describe_checkpoint(path, **options)
    if not path.exists() and not any(mark in str(path) for mark in "*?[{"):
        raise DataError(f"{path} does not exist; give a checkpoint or run folder, a dataset, or videos.")
    if any(options.values()):
        raise ConfigError(
            f"--weights and --config are about a checkpoint, and {path} is none; leave them out."
        )
    return describe_dataset(path).render() if is_lerobot(path) else describe_videos(path).render()


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
    return [f"  {key:<{width}}  {value}" for key, value in values.items()]
