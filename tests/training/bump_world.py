"""A bump on a grid of tokens that actions push around: frozen features with a known law.

Legend: E episodes, L frames of an episode, N tokens a frame, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, WorldModelConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.training.frozen_features import FrozenFeatures

SIDE, WIDTH, LENGTH = 4, 8, 9


def render(position: Tensor, background: Tensor) -> Tensor:
    """Return features `[..., N, D]` of a bump at `position [..., 2]` (tokens) before a still background `[N, D]`."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).view(-1, 2).float()
    height = torch.exp(-(places - position.unsqueeze(-2)).square().sum(dim=-1) / 1.5)
    direction = torch.linspace(-2, 2, WIDTH)
    return background + height.unsqueeze(-1) * direction


def bump_features(episodes: int, seed: int, action_scale: float = 0.9) -> FrozenFeatures:
    """Return episodes in which the bump moves by each action; the state is its place."""
    generator = torch.Generator().manual_seed(seed)
    features, states, actions = [], [], []
    for _ in range(episodes):
        background = torch.randn(SIDE * SIDE, WIDTH, generator=generator)
        steps = (2 * torch.rand(LENGTH - 1, 2, generator=generator) - 1) * action_scale
        start = 0.5 + 2 * torch.rand(1, 2, generator=generator)
        place = torch.cat([start, start + steps.cumsum(dim=0)])
        features.append(render(place, background).half())
        states.append(place)
        actions.append(torch.cat([steps, torch.zeros(1, 2)]))
    starts = torch.arange(episodes + 1) * LENGTH
    return FrozenFeatures(torch.cat(features), torch.cat(states), torch.cat(actions), starts)


def bump_model(seed: int = 0) -> LatentWorldModel:
    config = WorldModelConfig(
        encoder=EncoderConfig(
            image_size=32, patch_size=8, num_frames=2, embed_dim=WIDTH, depth=1, num_heads=1
        ),
        predictor=ActionPredictorConfig(embed_dim=48, depth=2, num_heads=2, mlp_ratio=2.0),
        pool=1,
        action_dim=2,
        state_dim=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LatentWorldModel(config)
