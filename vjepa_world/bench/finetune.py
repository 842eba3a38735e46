"""A fine-tuning step compared with a plain PyTorch implementation of V-JEPA 2-AC's, and with and without feature cache.

Both sides of the first comparisons have the same weights and decoded windows. Ours is what `vjepa-world finetune` runs
with `features.cache=false`, after decoding.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.finetune_cache import cache_row
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.bench.memory import measured_in_process, peak_rise_gb, print_gb
from vjepa_world.bench.references.finetune import PlainFinetuneStep
from vjepa_world.models.build import build_world_model
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.system.device import resolve_device, set_threads
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.finetune.task import FinetuneTask
from vjepa_world.training.finetune.trajectory_sources import WindowDraw
from vjepa_world.training.finetune.window_batches import WindowBatch

#: Most steps of each side: a step takes seconds on a CPU.
MAX_REPEATS = 5

#: Number of steps over which the memory of each side is measured.
MEMORY_STEPS = 2

#: V-JEPA 2-AC's objective and learning rate.
OBJECTIVE = FinetuneObjective(loss="l1", rollout=2, motion_share=0.0)
LR = 4.25e-4

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}


class Size(NamedTuple):
    """Model and batch: `windows` windows of `frames` frames per step, which ours splits into `slices` micro-batches."""

    name: str
    encoder: EncoderConfig
    predictor: ActionPredictorConfig
    windows: int
    frames: int
    slices: int


def _predictor(dim: int, depth: int, heads: int) -> ActionPredictorConfig:
    """V-JEPA 2-AC's kind of predictor."""
    return ActionPredictorConfig(
        embed_dim=dim, depth=depth, num_heads=heads, residual=False, context_frames=0, normalize=True
    )


SMALL = Size(
    "ViT-S/16, 8 x 8 x 128",
    EncoderConfig(image_size=128, embed_dim=384, depth=12, num_heads=6),
    _predictor(192, 6, 6),
    windows=8,
    frames=8,
    slices=4,
)
LARGE = Size(
    "ViT-L/16, 8 x 8 x 256",
    EncoderConfig(image_size=256, embed_dim=1024, depth=24, num_heads=16),
    _predictor(1024, 24, 16),
    windows=8,
    frames=8,
    slices=4,
)


def run(config: BenchConfig) -> list[Row]:
    """Return windows/s and memory compared with the plain step in both precisions, and with and without the cache."""
    set_threads(0)
    device = resolve_device(config.device)
    size = LARGE if device.type == "cuda" else SMALL
    wait = partial(torch.cuda.synchronize, device) if device.type == "cuda" else None
    rows = []
    for precision, dtype in PRECISIONS.items():
        ours = Ours(size, device, config.seed)
        plain = Plain(size, ours.task.model, ours.batch, device, dtype)
        pair = time_pair(ours, plain, repeats=min(config.repeats, MAX_REPEATS), synchronize=wait)
        label = (
            f"{size.name}, {str(ours.trainer.dtype).removeprefix('torch.')} compared with plain {precision}"
        )
        rows.append(row(label, size.windows / pair.ours, size.windows / pair.baseline, "windows/s"))
    arguments = (config.device, str(config.seed))
    mine = measured_in_process(__name__, "ours", *arguments)
    for precision in PRECISIONS:
        theirs = measured_in_process(__name__, precision, *arguments)
        label = f"{size.name}, memory of a step compared with plain {precision}"
        rows.append(row(label, mine, theirs, "GB", lower_is_better=True))
    return [*rows, cache_row(config, device)]


class Ours:
    """Our implementation; each call takes a step."""

    def __init__(self, size: Size, device: torch.device, seed: int) -> None:
        trainer = TrainerConfig(
            steps=1_000_000,
            batch_size=size.windows,
            accumulate=size.slices,
            lr=LR,
            compile=device.type == "cuda",
        )
        model = build_world_model(
            WorldModelConfig(
                encoder=size.encoder,
                predictor=size.predictor,
                latents=LatentsConfig(kind="none"),
                inverse=InverseConfig(horizon=0),
                decoder=DecoderConfig(image_size=0),
            ),
            seed=seed,
        )
        self.task = FinetuneTask(
            model,
            (),
            _NoReader(),
            objective=OBJECTIVE,
            trainer=trainer,
            seed=seed,
            device=device,
            provenance={},
        )
        self.batch, self.step = _windows(size, seed), 0
        self.folder = tempfile.TemporaryDirectory()
        self.trainer = Trainer(self.task, trainer, Path(self.folder.name), device)

    def __call__(self) -> Any:
        """Take a step."""
        self.step += 1
        return self.trainer.step(self.step, self.batch)


class Plain:
    """The plain step on the same windows, starting from the same weights; each call takes a step."""

    def __init__(
        self,
        size: Size,
        model: LatentWorldModel,
        batch: WindowBatch,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.batch, self.device, self.dtype = batch, device, dtype
        robot = model.config.embodiments[0]
        self.step = PlainFinetuneStep(
            size.encoder,
            size.predictor,
            frames=size.frames,
            action_dim=robot.action_dim,
            state_dim=robot.state_dim,
            lr=LR,
        )
        self.step.copy_weights(model)
        self.step.to(device)

    def __call__(self) -> float:
        """Take a step."""
        assert self.batch.frames is not None
        tensors = (self.batch.frames, self.batch.actions, self.batch.states)
        frames, actions, states = (tensor.to(self.device) for tensor in tensors)
        return self.step(frames, actions, states, self.dtype)


class _NoReader:
    def read(self, draw: WindowDraw) -> WindowBatch:
        """Not called: the benchmark has its own batch."""
        raise NotImplementedError

    def stream(self, draws: Iterator[WindowDraw]) -> Iterator[WindowBatch]:
        """Return no batches."""
        return iter(())


def _windows(size: Size, seed: int) -> WindowBatch:
    """Return windows of noise: the content does not affect speed or memory."""
    generator = torch.Generator().manual_seed(seed)
    shape = (size.windows, size.frames, 3, size.encoder.image_size, size.encoder.image_size)
    return WindowBatch(
        embodiment="default",
        features=None,
        frames=torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
        images=None,
        actions=torch.randn(size.windows, size.frames - 1, 7, generator=generator),
        states=torch.randn(size.windows, size.frames, 7, generator=generator),
        extrinsics=None,
        names=("noise",) * size.windows,
        episodes=torch.arange(size.windows),
    )


def _measure_memory(side: str, device_name: str, seed: int) -> float:
    set_threads(0)
    device = resolve_device(device_name)
    size = LARGE if device.type == "cuda" else SMALL
    ours = Ours(size, device, seed)
    if side == "ours":
        return peak_rise_gb(ours, MEMORY_STEPS, device)
    model, batch = ours.task.model, ours.batch
    return peak_rise_gb(Plain(size, model, batch, device, PRECISIONS[side]), MEMORY_STEPS, device)


if __name__ == "__main__":
    print_gb(_measure_memory(sys.argv[1], sys.argv[2], int(sys.argv[3])))
