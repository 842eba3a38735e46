"""A bump on a grid of tokens that is moved by actions: frozen features with known dynamics.

Legend: E episodes, L frames of an episode, N tokens per frame, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.data.trajectories.windows import EpisodeNumbers
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.training.finetune.trajectory_sources import TrajectorySource, make_source
from vjepa_world.training.finetune.window_batches import CachedWindows

SIDE, WIDTH, LENGTH = 4, 8, 9
FPS = 4.0


def render(position: Tensor, background: Tensor) -> Tensor:
    """Return features `[..., N, D]` of a bump at `position [..., 2]` (tokens) before a still background `[N, D]`."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    positions = torch.stack([rows, columns], dim=-1).view(-1, 2).float()
    height = torch.exp(-(positions - position.unsqueeze(-2)).square().sum(dim=-1) / 1.5)
    direction = torch.linspace(-2, 2, WIDTH)
    return background + height.unsqueeze(-1) * direction


class BumpWorld:
    """Episodes in which the bump moves by each action; the state is its position. Features are in memory."""

    path = Path("bumps")
    about: ClassVar[dict[str, Any]] = {}

    def __init__(
        self, episodes: int, seed: int, *, action_scale: float = 0.9, cameras: int = 1, clutter: float = 1.0
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.num_episodes = episodes
        self.names = tuple(f"camera{number}" for number in range(cameras))
        self.features: list[dict[str, Tensor]] = []
        self.numbers: list[EpisodeNumbers] = []
        for index in range(episodes):
            steps = (2 * torch.rand(LENGTH - 1, 2, generator=generator) - 1) * action_scale
            start = 0.5 + 2 * torch.rand(1, 2, generator=generator)
            centres = torch.cat([start, start + steps.cumsum(dim=0)])
            backgrounds = [clutter * torch.randn(SIDE * SIDE, WIDTH, generator=generator) for _ in self.names]
            views = zip(self.names, backgrounds, strict=True)
            self.features.append({name: render(centres, background) for name, background in views})
            self.numbers.append(
                EpisodeNumbers(
                    index=index,
                    name=f"bump {index}",
                    states=centres.numpy(),
                    actions=steps.numpy(),
                    timestamps_s=np.arange(LENGTH) / FPS,
                    merging="stack",
                    extrinsics={
                        name: np.full((LENGTH, 6), k, np.float32) for k, name in enumerate(self.names)
                    },
                )
            )

    def gather(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return the windows' features, as the cache of a dataset does."""
        each = zip(episodes.tolist(), rows, cameras, strict=True)
        return torch.stack([self.features[episode][camera][at] for episode, at, camera in each])

    def thumbnails(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return pictures of `SIDE` x `SIDE` pixels: the bump's first three channels."""
        features = self.gather(episodes, rows, cameras)[..., :3]
        grey = (features.transpose(-1, -2).unflatten(-1, (SIDE, SIDE)) * 32 + 128).clamp(0, 255)
        return grey.byte()

    def source(self, **changes: Any) -> TrajectorySource:
        """Return it as a dataset of a fine-tuning."""
        settings: dict[str, Any] = {
            "name": "bumps",
            "embodiment": "default",
            "weight": 1.0,
            "cameras": self.names,
            "frames": 3,
            "fps": 0.0,
            "val_fraction": 0.1,
            "seed": 0,
        }
        bad = BadFiles(0.0, what="episodes")
        return make_source(cast(TrajectoryDataset, self), self.numbers, bad, **{**settings, **changes})


def bump_model(
    seed: int = 0, *, views: int = 1, predictor: dict[str, Any] | None = None, **changes: Any
) -> LatentWorldModel:
    """Return a small world model for the bumps; no inverse model and no decoder unless asked for."""
    sizes: dict[str, Any] = {"embed_dim": 48, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0}
    settings: dict[str, Any] = {
        "latents": LatentsConfig(kind="none"),
        "embodiments": (EmbodimentConfig(action_dim=2, state_dim=2),),
        "inverse": InverseConfig(horizon=0),
        "decoder": DecoderConfig(image_size=0),
    }
    config = WorldModelConfig(
        encoder=EncoderConfig(
            image_size=32, patch_size=8, num_frames=2, embed_dim=WIDTH, depth=1, num_heads=1
        ),
        predictor=ActionPredictorConfig(**{**sizes, **(predictor or {})}),
        views=views,
        **{**settings, **changes},
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LatentWorldModel(config)


def cached(
    worlds: Sequence[BumpWorld], sources: Sequence[TrajectorySource], model: LatentWorldModel
) -> CachedWindows:
    """Return what reads the bumps' windows."""
    return CachedWindows(
        sources,
        worlds,
        side=SIDE,
        images=model.decoder is not None,
        extrinsics=model.config.predictor.use_extrinsics,
    )
