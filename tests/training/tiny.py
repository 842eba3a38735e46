"""Small tasks that train in seconds."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.ops.masking.spec import MaskSpec
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.pretrain.objectives.config import (
    ContrastiveConfig,
    JEPAConfig,
    ObjectiveConfig,
    PixelsConfig,
)
from vjepa_world.training.pretrain.objectives.registry import build_objective
from vjepa_world.training.pretrain.task import Loader, PretrainTask

CPU = torch.device("cpu")
ENCODER = EncoderConfig(
    image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0
)
PREDICTOR = MaskedPredictorConfig(embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0)
# The published masks leave nothing of 4 x 4 tokens to see.
MASKS = (MaskSpec(num_blocks=2, scale=0.15), MaskSpec(num_blocks=1, scale=0.4))


def trainer_config(**changes: Any) -> TrainerConfig:
    return TrainerConfig(
        **{"steps": 6, "batch_size": 4, "precision": "float32", "log_every": 1, "workers": 0, **changes}
    )


def moving_dot(number: int) -> Tensor:
    """Return a bright square that moves over a grey field: uint8 `[4, 3, 32, 32]`."""
    rng = np.random.default_rng(number)
    clip = torch.full((4, 3, 32, 32), int(rng.integers(30, 120)), dtype=torch.uint8)
    start, speed, colour = rng.uniform(4, 22, 2), rng.uniform(-3, 3, 2), rng.integers(150, 256, 3)
    for frame in range(4):
        y, x = np.clip(start + frame * speed, 0, 25).astype(int)
        clip[frame, :, y : y + 7, x : x + 7] = torch.from_numpy(colour.astype(np.uint8)).view(3, 1, 1)
    return clip


class MovingDots:
    """A loader of moving squares; clip `i` of a run is always the same.

    The process gets a Ctrl-C while clip `interrupt_at` is made.
    """

    def __init__(
        self,
        batch_size: int,
        interrupt_at: int | None = None,
        views: int = 1,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size, self.interrupt_at, self.views = batch_size, interrupt_at, views
        self.rank, self.world_size = rank, world_size

    def batches(self, start_step: int, steps: int) -> Iterator[ClipBatch]:
        own = self.batch_size // self.world_size
        for step in range(start_step, steps):
            first = step * self.batch_size + self.rank * own
            numbers = range(first, first + own)
            if self.interrupt_at in numbers:
                os.kill(os.getpid(), signal.SIGINT)
            frames = torch.stack([moving_dot(number) for number in numbers])
            if self.views > 1:
                frames = torch.stack([frames.roll(3 * view, dims=-1) for view in range(self.views)], dim=1)
            yield ClipBatch(frames, tuple(f"dot {number}" for number in numbers), ("",) * own)


# The published masks leave next to nothing of 4 x 4 tokens to see.
MASKS = (MaskSpec(num_blocks=2, scale=0.15), MaskSpec(num_blocks=1, scale=0.4))


def jepa_config(**changes: Any) -> JEPAConfig:
    return JEPAConfig(**{"masks": MASKS, **changes})


def objective_config(kind: str = "jepa", **changes: Any) -> ObjectiveConfig:
    if kind == "contrastive":
        return ContrastiveConfig(**changes)
    return PixelsConfig(**{"masks": MASKS, **changes}) if kind == "pixels" else jepa_config(**changes)


def pretrain_task(
    config: TrainerConfig,
    loader: Loader | None = None,
    objective: ObjectiveConfig | None = None,
    seed: int = 0,
) -> PretrainTask:
    options = objective or jepa_config()
    built = build_objective(ENCODER, PREDICTOR, options, seed=seed)
    return PretrainTask(
        loader or MovingDots(config.batch_size, views=built.views),
        built,
        options,
        config,
        seed=seed,
        device=CPU,
        provenance={},
    )


class LineTask:
    """Fits a line; step `nan_at` gives a NaN, step `signal_at` gets a signal while its batch is made."""

    unit = "points"
    flops = 0.0
    flops = 0.0

    def __init__(
        self,
        config: TrainerConfig,
        nan_at: int | None = None,
        signal_at: dict[int, signal.Signals] | None = None,
    ) -> None:
        self.config, self.nan_at, self.signal_at = config, nan_at, signal_at or {}
        self.modules: nn.Module = nn.Linear(3, 2)
        with torch.no_grad():
            for parameter in self.modules.parameters():
                parameter.fill_(0.5)
        self.stepped: list[int] = []

    def batches(self, start_step: int) -> Iterator[Tensor]:
        for step in range(start_step, self.config.steps):
            if step in self.signal_at:
                os.kill(os.getpid(), self.signal_at[step])
            batch = torch.randn(self.config.batch_size, 3, generator=torch.Generator().manual_seed(step))
            yield batch * float("nan") if step == self.nan_at else batch

    def names(self, batch: Tensor) -> Sequence[str]:
        return [f"point {index}" for index in range(len(batch))]

    def forward_passes(self, batch: Tensor, step: int) -> Sequence[Callable[[], dict[str, Tensor]]]:
        return [lambda: self._loss(batch)]

    def _loss(self, batch: Tensor) -> dict[str, Tensor]:
        loss = (self.modules(batch) - batch[:, :2]).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    def after_step(self, step: int) -> None:
        self.stepped.append(step)

    def warning(self, metrics: dict[str, float]) -> str | None:
        return None

    def monitor(self, batch: Tensor, step: int) -> dict[str, float]:
        return {"weight": next(self.modules.parameters()).sum().item()}

    def files(self) -> dict[str, Any]:
        return {
            "config.json": {},
            "model.safetensors": {k: v.clone() for k, v in self.modules.state_dict().items()},
        }


def run_folder(tmp_path: Path, name: str = "run") -> Path:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    return folder


def fit(task: Any, config: TrainerConfig, folder: Path, resume: bool = False) -> Trainer:
    trainer = Trainer(task, config, folder, CPU)
    trainer.fit(resume)
    return trainer


def metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without measured times."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    timed = ("_per_s", "wait_fraction", "matrix_share")
    return [{key: value for key, value in line.items() if not key.endswith(timed)} for line in lines]


def assert_same_state(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
