"""Training checkpoints: `checkpoints/step_N/`, each whole or absent, the newest ones kept.

A folder holds what users load (`model.safetensors`, `config.json`) and `training.pt`, what a resumed run needs.
"""

from __future__ import annotations

import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from vjepa_world.errors import CheckpointError
from vjepa_world.pretrained.folder import write_folder
from vjepa_world.pretrained.native import checkpoint_steps

STATE = "training.pt"


def save_checkpoint(
    run: Path, step: int, files: dict[str, Any], state: dict[str, Any], keep: int = 2
) -> Path:
    """Write the checkpoint of `step` (steps done) and drop all but the newest `keep`.

    Args:
        run: Run folder.
        step: Optimizer steps done.
        files: What users load, as :func:`write_folder` takes it.
        state: What a resumed run needs; tensors and plain values only.
        keep: How many checkpoints stay.

    Raises:
        CheckpointError: If the disk is full; earlier checkpoints stay.
    """
    folder = run / "checkpoints" / f"step_{step:08d}"
    for half_written in folder.parent.glob(".step_*"):  # by a process that was killed while saving
        shutil.rmtree(half_written)
    write_folder(folder, {**files, STATE: state})
    for old in checkpoint_steps(run)[:-keep]:
        shutil.rmtree(old)
    return folder


def load_state(run: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint's training state, or None if the run has none yet.

    Raises:
        CheckpointError: If the file is broken.
    """
    folders = checkpoint_steps(run)
    if not folders:
        return None
    path = folders[-1] / STATE
    try:
        if not zipfile.is_zipfile(path):
            raise ValueError("it is missing or truncated")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); remove {folders[-1]} to go on from the checkpoint before it."
        ) from error
