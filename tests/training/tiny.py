"""Small tasks that train in seconds."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.training.config import PretrainObjective, TrainerConfig
from vjepa_world.training.pretrain import PretrainTask
from vjepa_world.training.trainer import Trainer

CPU = torch.device("cpu")
ENCODER = EncoderConfig(
    image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0
)
PREDICTOR = MaskedPredictorConfig(embed_dim=16, depth=1, num_heads=2, mlp_ratio=2.0)


def trainer_config(**changes: Any) -> TrainerConfig:
    return TrainerConfig(
        **{"steps": 6, "batch_size": 4, "precision": "float32", "log_every": 1, "workers": 0, **changes}
    )


class MovingDots(Dataset[Tensor]):
    """Clip `i` shows a bright square that moves over a grey field: uint8 `[4, 3, 32, 32]`, any index.

    The process gets a Ctrl-C while clip `interrupt_at` is made.
    """

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.interrupt_at = interrupt_at

    def __getitem__(self, index: int) -> Tensor:
        if index == self.interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        rng = np.random.default_rng(index)
        clip = torch.full((4, 3, 32, 32), int(rng.integers(30, 120)), dtype=torch.uint8)
        place, speed, colour = rng.uniform(4, 22, 2), rng.uniform(-3, 3, 2), rng.integers(150, 256, 3)
        for frame in range(4):
            y, x = np.clip(place + frame * speed, 0, 25).astype(int)
            clip[frame, :, y : y + 7, x : x + 7] = torch.from_numpy(colour.astype(np.uint8)).view(3, 1, 1)
        return clip

    def __len__(self) -> int:
        return 16


def pretrain_task(
    config: TrainerConfig,
    clips: Dataset[Tensor] | None = None,
    objective: PretrainObjective | None = None,
    seed: int = 0,
) -> PretrainTask:
    return PretrainTask(
        clips or MovingDots(),
        ENCODER,
        PREDICTOR,
        objective or PretrainObjective(),
        config,
        seed=seed,
        device=CPU,
        provenance={},
    )


class LineTask:
    """Fits a line; step `nan_at` gives a NaN, step `signal_at` gets a signal while its batch is made."""

    unit = "points"

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

    def loss(self, batch: Tensor, step: int) -> dict[str, Tensor]:
        loss = (self.modules(batch) - batch[:, :2]).square().mean()
        return {"loss": loss, "twice": 2 * loss}

    def after_step(self, step: int) -> None:
        self.stepped.append(step)

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
    """Return the lines of metrics.jsonl without the throughput, which is never the same twice."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if not key.endswith("_per_s")} for line in lines]


def assert_same_state(left: nn.Module, right: nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
