"""Small models to save, with different values in every weight."""

from __future__ import annotations

import dataclasses

import torch

from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.models.world_model import LatentWorldModel

ENCODER = EncoderConfig(image_size=32, patch_size=8, num_frames=2, embed_dim=16, depth=2, num_heads=2)
WORLD_MODEL = WorldModelConfig(
    encoder=ENCODER,
    predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
    latents=LatentsConfig(side=2),
    embodiments=(EmbodimentConfig(action_dim=3, state_dim=5),),
    inverse=InverseConfig(embed_dim=16, depth=1, num_heads=2),
    decoder=DecoderConfig(image_size=8, embed_dim=16, depth=1, num_heads=2),
)


def tiny_encoder(seed: int = 0) -> VideoEncoder:
    return untrained_encoder(ENCODER, seed)


def tiny_world_model(kind: str = "vjepa", seed: int = 0) -> LatentWorldModel:
    return random_world_model(dataclasses.replace(WORLD_MODEL, encoder_kind=kind), seed)


def random_world_model(config: WorldModelConfig, seed: int = 0) -> LatentWorldModel:
    model = LatentWorldModel(config)
    generator = torch.Generator().manual_seed(seed)
    for tensor in model.state_dict().values():
        tensor.copy_(torch.randn(tensor.shape, generator=generator))
    return model
