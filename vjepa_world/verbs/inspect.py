"""`inspect`: say what a path holds: a checkpoint or run, a LeRobot dataset, or videos."""

from __future__ import annotations

import argparse
from math import prod
from pathlib import Path
from typing import Any

from vjepa_world.errors import DataError


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Describe a folder of videos, a LeRobot dataset or a checkpoint."
    )
    parser.add_argument("path", type=Path, help="a checkpoint or run folder, a dataset, videos")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the description.

    Raises:
        DataError: If the path does not exist or holds nothing of the three.
    """
    print(describe(arguments.path))


def describe(path: Path) -> str:
    """Return the description of what a path holds."""
    from vjepa_world.data.describe import describe_dataset, describe_videos
    from vjepa_world.data.trajectories.lerobot import is_lerobot
    from vjepa_world.pretrained.native import CONFIG, checkpoint_steps

    if path.is_dir() and ((path / CONFIG).is_file() or checkpoint_steps(path)):
        return describe_checkpoint(path)
    if not path.exists() and not any(mark in str(path) for mark in "*?["):
        raise DataError(f"{path} does not exist; give a checkpoint or run folder, a dataset, or videos.")
    return describe_dataset(path).render() if is_lerobot(path) else describe_videos(path).render()


def describe_checkpoint(path: Path) -> str:
    """Return a checkpoint's kind, architecture, size and origin."""
    from safetensors import safe_open

    from vjepa_world.config import flatten
    from vjepa_world.pretrained.native import WEIGHTS, find_checkpoint, read_config

    folder, description = find_checkpoint(path), read_config(path)
    parts: dict[str, int] = {}
    types: set[str] = set()
    with safe_open(folder / WEIGHTS, framework="numpy") as tensors:
        for name in tensors.keys():  # noqa: SIM118  (not a dictionary)
            view = tensors.get_slice(name)
            part = name.split(".")[0] if description["kind"] == "world_model" else "encoder"
            parts[part] = parts.get(part, 0) + prod(view.get_shape())
            types.add(view.get_dtype())
    lines = [
        f"{folder}: {description['kind']}, {sum(parts.values()) / 1e6:.2f} M numbers ({', '.join(sorted(types))})"
    ]
    lines += [f"  {part}: {count / 1e6:.3f} M" for part, count in parts.items()]
    lines += ["architecture:", *_rows(flatten(description["config"]))]
    if description["provenance"]:
        lines += ["made by:", *_rows(flatten(description["provenance"]))]
    return "\n".join(lines)


def _rows(values: dict[str, Any]) -> list[str]:
    width = max(map(len, values), default=0)
    return [f"  {key:<{width}}  {value}" for key, value in values.items()]
