"""Checkpoints in and out."""

from vjepa_world.pretrained.native import load_encoder, load_world_model, save_pretrained
from vjepa_world.pretrained.shipped import shipped_checkpoint

__all__ = ["load_encoder", "load_world_model", "save_pretrained", "shipped_checkpoint"]
