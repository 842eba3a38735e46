"""Checkpoint folders are written atomically."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from vjepa_world.errors import CheckpointError
from vjepa_world.files.atomic import atomic_folder
from vjepa_world.files.checksums import MODEL_METADATA, is_damaged, seal

WEIGHTS, CONFIG = "model.safetensors", "config.json"

#: transformers' files that describe how pixels become an encoder's input.
PREPROCESSORS = ("preprocessor_config.json", "video_preprocessor_config.json")


def write_folder(folder: Path, files: dict[str, Any]) -> None:
    """Write a folder of `.safetensors`, `.json` and `.pt` files atomically: a partial one is never seen.

    An existing folder is replaced if it holds only the files of a checkpoint.

    Raises:
        CheckpointError: If the disk is full, the path cannot be written, or the folder holds other files.
    """
    try:
        _check_replaceable(folder, files)
        with atomic_folder(folder) as temporary:
            write_files(temporary, files)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"could not write the checkpoint {folder}: {error}. Free some disk space or choose another path; "
            "no partial checkpoint was left behind."
        ) from error


def write_files(folder: Path, files: dict[str, Any]) -> None:
    """Write `.safetensors`, `.json` and `.pt` files into a temporary folder and flush them to the disk.

    Raises:
        OSError: If the disk is full or the folder cannot be written.
        SafetensorError: If a tensor cannot be stored, or for the reasons of OSError.
    """
    for name, content in files.items():
        _write_file(folder / name, content)


def check_intact(path: Path) -> None:
    """Refuse a safetensors file whose checksum does not match its content. Files of other writers have no checksum.

    Raises:
        CheckpointError: If the file has changed since it was written.
    """
    try:
        damaged = is_damaged(path)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error}); check the disk.") from error
    if damaged:
        raise CheckpointError(
            f"{path} has changed since it was written: its checksum does not match. Copy it again from an intact copy, "
            "or create it again."
        )


def _check_replaceable(folder: Path, files: dict[str, Any]) -> None:
    if folder.is_dir():
        ours = {WEIGHTS, CONFIG, *PREPROCESSORS, *files}
        others = sorted(path.name for path in folder.iterdir() if path.name not in ours)
        if others:
            raise CheckpointError(
                f"{folder} holds more than a checkpoint ({', '.join(others[:3])}), which replacing it would delete; "
                "choose a new folder."
            )
    elif folder.exists():
        raise CheckpointError(f"{folder} is a file; a checkpoint is a folder: choose another path.")


def _write_file(path: Path, content: Any) -> None:
    if path.suffix == ".safetensors":
        save_file(content, path, metadata=MODEL_METADATA)
        seal(path)
        path.chmod(0o644)  # safetensors makes files readable for the owner only
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, indent=2) + "\n")
    else:
        torch.save(content, path)
    with path.open("rb") as stream:  # the folder's new name must not reach the disk before its content
        os.fsync(stream.fileno())
