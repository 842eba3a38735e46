"""Runs commands as the command line does, in one process, with tiny models."""

from __future__ import annotations

import contextlib
from pathlib import Path

from vjepa_world.cli.main import main

ENV = ["env.image_size=64"]
TRAINER = [
    "trainer.steps=2",
    "trainer.batch_size=2",
    "trainer.workers=0",
    "trainer.threads=1",
    "trainer.log_every=1",
]
NETWORK = ["embed_dim=24", "depth=1", "num_heads=2"]
MODEL = ["model.image_size=64", "model.num_frames=2", *(f"model.{word}" for word in NETWORK)]
PREDICTOR = [f"predictor.{word}" for word in NETWORK]
PLANNER = ["planner.num_samples=8", "planner.num_iterations=1", "planner.num_elites=2"]

COLLECT = ["collect", "episodes=2", "steps=6", "workers=1", *ENV]
PRETRAIN = ["pretrain", "device=cpu", *TRAINER, *MODEL, *PREDICTOR]
FINETUNE = ["finetune", "device=cpu", "data.val_fraction=0.5", *TRAINER, *PREDICTOR]
EVALUATE = ["evaluate", "device=cpu", "episodes=1", "env.max_steps=3", "threads=1", *ENV, *PLANNER]


def run(home: Path, *words: str) -> int:
    """Return the exit code of a command line given in folder `home`."""
    with contextlib.chdir(home):
        return main(words)
