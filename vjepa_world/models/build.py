"""New models with random weights from a configuration and a seed."""

from __future__ import annotations

from vjepa_world.models.config import EncoderConfig, WorldModelConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.system.seeding import seeded


def build_encoder(config: EncoderConfig, *, seed: int = 0) -> VideoEncoder:
    """Return an encoder with new weights, ready for training; the global generators are not changed."""
    with seeded(seed):
        return VideoEncoder(config)


def build_world_model(config: WorldModelConfig, *, seed: int = 0) -> LatentWorldModel:
    """Return a world model with new weights, encoder included; the global generators are not changed."""
    with seeded(seed):
        return LatentWorldModel(config)
