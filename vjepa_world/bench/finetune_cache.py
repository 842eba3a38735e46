"""A fine-tuning step on cached features, compared with the same step that decodes and encodes its windows."""

from __future__ import annotations

import contextlib
import io
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.data.trajectories.config import FeaturesConfig, TrajectoryDataConfig
from vjepa_world.models.build import build_world_model
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, WorldModelConfig
from vjepa_world.system.device import resolve_precision
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.distributed import ranks
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.finetune.frozen_features import frozen_features
from vjepa_world.training.finetune.task import FinetuneTask
from vjepa_world.training.finetune.trajectory_sources import WindowDraw, draw_step, open_sources
from vjepa_world.training.finetune.window_batches import (
    Augmentation,
    CachedWindows,
    DecodedWindows,
    WindowReader,
)

MAX_REPEATS = 5


class Size(NamedTuple):
    """Model and data: `windows` windows of `frames` frames per step, from `episodes` episodes of `steps` actions."""

    name: str
    model: WorldModelConfig
    windows: int
    frames: int
    episodes: int
    steps: int


SMALL = Size(
    "ViT-S/16, 16 tokens, 16 x 8 x 128",
    WorldModelConfig(
        encoder=EncoderConfig(image_size=128, embed_dim=384, depth=12, num_heads=6),
        predictor=ActionPredictorConfig(),
    ),
    windows=16,
    frames=8,
    episodes=16,
    steps=40,
)


class CacheAndDecoder:
    """Fine-tuning on data of the simulated arm, with windows from the cache or decoded and encoded.

    Args:
        size: Model and data.
        scratch: An empty folder for the data and its features.
        device: The device of the training.
        seed: Seed of the recording and of the windows.
    """

    def __init__(self, size: Size, scratch: Path, device: torch.device, seed: int) -> None:
        self.size, self.seed, self.step = size, seed, 0
        record(size, scratch, seed)
        data = TrajectoryDataConfig(path=str(scratch / "runs" / "collect" / "bench"), frames=size.frames)
        self.sources = open_sources(data, seed=seed)
        self.model = build_world_model(size.model, seed=seed).to(device)
        self.cached = self._cached(scratch / "features", device)
        self.decoded = DecodedWindows(
            self.sources,
            preprocessing=self.model.preprocessing,
            small_size=size.model.decoder.image_size,
            augmentation=Augmentation(),
            extrinsics=False,
            seed=seed,
            workers=0,
        )
        trainer = TrainerConfig(steps=1_000_000, batch_size=size.windows)
        task = FinetuneTask(
            self.model,
            self.sources,
            self.cached,
            objective=FinetuneObjective(),
            trainer=trainer,
            seed=seed,
            device=device,
            provenance={},
        )
        self.trainer = Trainer(task, trainer, scratch / "run", device)

    def _cached(self, root: Path, device: torch.device) -> CachedWindows:
        [source] = self.sources
        store = frozen_features(
            self.model,
            source.dataset,
            source.cameras,
            FeaturesConfig(root=str(root)),
            dtype=resolve_precision("auto", device),
            workers=0,
            max_bad_fraction=0.0,
            ranks=ranks(),
        )
        return CachedWindows(
            self.sources, [store], side=self.size.model.frozen_side, images=True, extrinsics=False
        )

    def draw(self, step: int) -> WindowDraw:
        """Return the windows of a step, the same for both sides."""
        return draw_step(self.sources, seed=self.seed, step=step, count=self.size.windows, views="one")

    def take(self, reader: WindowReader) -> Any:
        """Read the next step's windows and train on them."""
        self.step += 1
        return self.trainer.step(self.step, reader.read(self.draw(self.step)))


def cache_row(config: BenchConfig, device: torch.device, size: Size = SMALL) -> Row:
    """Return windows/s with the cache (already built), compared with decoding and encoding at each step."""
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else None
    with tempfile.TemporaryDirectory() as scratch:
        both = CacheAndDecoder(size, Path(scratch), device, config.seed)
        pair = time_pair(
            partial(both.take, both.cached),
            partial(both.take, both.decoded),
            repeats=min(config.repeats, MAX_REPEATS),
            synchronize=wait,
        )
    label = f"{size.name}, cached compared with decoded and encoded"
    return row(label, size.windows / pair.ours, size.windows / pair.baseline, "windows/s")


def record(size: Size, scratch: Path, seed: int) -> None:
    """Record episodes of the simulated arm into `scratch/runs/collect/bench`."""
    from vjepa_world.cli.collect import Config
    from vjepa_world.cli.collect import run as collect
    from vjepa_world.environments.config import EnvConfig

    env = EnvConfig(image_size=size.model.encoder.image_size)
    with contextlib.chdir(scratch), contextlib.redirect_stdout(io.StringIO()):
        collect(Config(name="bench", env=env, episodes=size.episodes, steps=size.steps, seed=seed))
