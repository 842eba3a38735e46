"""Checkpoints in and out."""

from vjepa_world.pretrained.native import load_encoder, load_world_model, save_pretrained

__all__ = ["load_encoder", "load_world_model", "save_pretrained"]
