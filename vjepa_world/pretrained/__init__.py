"""Checkpoints: reading, loading, saving and converting them in every format of the family."""

from vjepa_world.pretrained.loading import (
    load_encoder,
    load_masked_predictor,
    load_world_model,
    read_checkpoint,
)
from vjepa_world.pretrained.saving import save_pretrained
from vjepa_world.pretrained.shipped import shipped_checkpoint

__all__ = [
    "load_encoder",
    "load_masked_predictor",
    "load_world_model",
    "read_checkpoint",
    "save_pretrained",
    "shipped_checkpoint",
]
