"""A linear probe of the shipped encoder, compared with the same encoder untrained and with raw pixels.

Ridge regression from a frame's pooled features to the end-effector position, fitted on frames of training scenes and
evaluated on test scenes, whose colours, textures, light and camera are disjoint from them.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row

TRAIN_FRAMES, TEST_FRAMES = 6000, 1000


def run(config: BenchConfig) -> list[Row]:
    """Return the mean errors [cm] of the shipped encoder, compared with the controls."""
    from vjepa_world.ops.ridge import linear_probe
    from vjepa_world.pretrained import shipped_checkpoint
    from vjepa_world.system.device import set_threads

    set_threads(0)
    train = _frames("train", TRAIN_FRAMES, config.seed)
    test = _frames("test", TEST_FRAMES, config.seed + 1)
    errors = {
        name: 100 * linear_probe(_features(model, train), _features(model, test)).mean
        for name, model in _models(str(shipped_checkpoint()), config.seed).items()
    }
    chance = 100 * (test[1] - train[1].mean(dim=0)).norm(dim=1).mean().item()
    ours = errors.pop("trained")
    errors["chance"] = chance
    return [
        row(f"position probe compared with {name}", ours, error, "cm", lower_is_better=True)
        for name, error in errors.items()
    ]


def _frames(variation: Literal["train", "test"], count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return frames `[M, 3, H, W]` uint8 and positions `[M, 3]` [m], each of a different scene."""
    from vjepa_world.environments.config import EnvConfig

    env = EnvConfig(variation=variation).make()
    images, positions = [], []
    for episode in np.random.SeedSequence([seed, count]).generate_state(count):
        observation, _ = env.reset(seed=int(episode))
        images.append(torch.from_numpy(observation["image"]).permute(2, 0, 1))
        positions.append(torch.from_numpy(observation["state"][:3]))
    env.close()
    return torch.stack(images), torch.stack(positions)


def _models(checkpoint: str, seed: int) -> dict[str, torch.nn.Module]:
    from dataclasses import replace

    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.pretrained import load_world_model

    trained = load_world_model(checkpoint)
    untrained = LatentWorldModel(trained.config).eval()
    untrained.encoder.load_state_dict(untrained_encoder(trained.config.encoder, seed).state_dict())
    pixels = LatentWorldModel(replace(trained.config, encoder_kind="pixels")).eval()
    return {"trained": trained, "untrained": untrained, "pixels": pixels}


def _features(model: torch.nn.Module, frames: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    from vjepa_world.models.world_model import LatentWorldModel

    assert isinstance(model, LatentWorldModel)
    return torch.cat([model.encode_frames(chunk).flatten(1) for chunk in frames[0].split(64)]), frames[1]
