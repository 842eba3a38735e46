"""`convert`: bring a checkpoint from one format to another, bit by bit."""

from __future__ import annotations

import argparse
from pathlib import Path

from vjepa_world.errors import CheckpointError
from vjepa_world.verbs.checkpoint_options import add_checkpoint_options, reading_options

FORMATS = ("native", "huggingface", "meta")


def build_parser() -> argparse.ArgumentParser:
    """Return the verb's arguments."""
    parser = argparse.ArgumentParser(
        description="Convert a checkpoint between our format, transformers' and Meta's training files."
    )
    parser.add_argument(
        "source", help="a checkpoint or run folder, a Meta .pt file, a transformers folder or hub id"
    )
    parser.add_argument("destination", type=Path, help="a new folder, or for meta a new .pt file")
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format to write")
    add_checkpoint_options(parser)
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the converted checkpoint.

    Raises:
        ConfigError: If `--config` names no architecture.
        CheckpointError: If the source cannot be read, the destination exists, or its format cannot hold the source.
    """
    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.pretrained.huggingface import write_huggingface
    from vjepa_world.pretrained.meta import write_meta
    from vjepa_world.pretrained.native import write_native

    destination: Path = arguments.destination
    if destination.exists():
        raise CheckpointError(f"{destination} exists; give a new name, or remove it first.")
    checkpoint = read_checkpoint(arguments.source, **reading_options(arguments))
    write = {"native": write_native, "huggingface": write_huggingface, "meta": write_meta}[arguments.to]
    write(checkpoint, destination)
    count = sum(tensor.numel() for part in checkpoint.tensors.values() for tensor in part.values())
    print(
        f"{checkpoint.source} ({checkpoint.name}) -> {destination} ({arguments.to}), {count / 1e6:.2f} M numbers"
    )
    if checkpoint.ignored:
        print(f"left behind, since no model uses them: {', '.join(checkpoint.ignored)}")
