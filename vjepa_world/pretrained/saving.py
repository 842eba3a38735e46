"""Saves models: in transformers' layout if transformers has the architecture, else in the native one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.folder import WEIGHTS, write_folder
from vjepa_world.pretrained.huggingface.reader import obstacles, write_huggingface
from vjepa_world.pretrained.native import checkpoint_files


def save_pretrained(
    model: VideoEncoder | LatentWorldModel,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write `model` to `folder` atomically.

    An encoder that transformers supports (tiled positions; I-JEPA's) is written in its layout, so that
    `transformers.AutoModel.from_pretrained(folder)` opens it too; anything else in the native layout. `load_encoder`
    and `load_world_model` recognise both.

    Args:
        model: An encoder or a world model.
        folder: Target folder; replaced if it is a checkpoint.
        dtype: Store matrices in this type (float16 halves the size).
        provenance: How the weights were made (commands, seeds, versions); stored in `config.json`.

    Raises:
        CheckpointError: If the folder cannot be written (a full disk); no partial checkpoint remains.
    """
    folder = Path(folder)
    files = checkpoint_files(model, dtype=dtype, provenance=provenance)
    if isinstance(model, VideoEncoder):
        checkpoint = Checkpoint(
            format="native",
            name="encoder",
            source=folder,
            encoder=model.config,
            tensors={"encoder": files[WEIGHTS]},
            details={"provenance": provenance or {}},
        )
        if not obstacles(checkpoint):
            write_huggingface(checkpoint, folder)
            return
    write_folder(folder, files)
