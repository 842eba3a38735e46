"""From a model to a folder: transformers' layout where transformers has the architecture, ours elsewhere."""

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
    """Write `model` to `folder`, whole or not at all.

    An encoder that transformers has (tiled positions; I-JEPA's) is written as transformers has it, so that
    `transformers.AutoModel.from_pretrained(folder)` opens it too; anything else in our own layout. `load_encoder` and
    `load_world_model` tell them apart.

    Args:
        model: An encoder or a world model.
        folder: Where; replaced if it is a checkpoint.
        dtype: Store matrices in this type (float16 halves the size).
        provenance: Where the weights come from (commands, seeds, versions), kept in `config.json`.

    Raises:
        CheckpointError: If the folder cannot be written (a full disk); nothing half-written stays.
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
