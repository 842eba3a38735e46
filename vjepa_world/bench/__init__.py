"""Benchmarks: each one a module here with `run(config: BenchConfig) -> list[Row]`, started by `vjepa-world bench NAME`.

Importing this package does not import torch.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Literal

from vjepa_world.bench.harness import Pair, Row, report, row, time_pair
from vjepa_world.config.ranges import SEED
from vjepa_world.errors import ConfigError, nearest

BENCHES = {
    "pretrain": "a pretraining step compared with a plain PyTorch implementation: speed, memory, share of matrix rate",
    "finetune": "a fine-tuning step compared with a plain PyTorch implementation: speed, memory; feature cache",
    "encoder": "the video encoder compared with transformers' on the same weights, and the time to load weights",
    "collect": "recording episodes with all cores, compared with one process",
    "data": "decoding clips from h264 compared with decord, the clip loader, and how long pretraining waits",
    "scan": "opening a list of a million rows and a folder of files whose headers are indexed",
    "planner": "a plan compared with a plain implementation of the published loop: speed, memory; the shipped model",
    "probe": "linear probe of the end-effector position, compared with an untrained encoder and raw pixels",
    "env": "frames and actions of the simulated arm, next to MuJoCo's default quality; more processes next to one",
    "machine": "limits of this machine: matrix products in bfloat16 and float32, and copying memory",
}

__all__ = ["BENCHES", "BenchConfig", "Pair", "Row", "report", "row", "run_bench", "time_pair"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """Settings of every benchmark.

    Attributes:
        bench: Which benchmark; `all` for every one, empty to list them
        name: Folder under `runs/bench` for the result; the benchmark's own name unless given
        repeats: Repetitions of each side; the medians are reported
        device: auto, cpu or cuda
        seed: Seed of random inputs
    """

    bench: str = ""
    name: str = ""
    repeats: int = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = field(default=0, metadata=SEED)

    def __post_init__(self) -> None:
        """Refuse an unknown benchmark and a number of repetitions below 1."""
        if self.bench not in ("", "all") and self.bench not in BENCHES:
            raise ConfigError(f"unknown bench '{self.bench}'; {nearest(self.bench, [*BENCHES, 'all'])}")
        if self.repeats < 1:
            raise ConfigError(f"'repeats' got {self.repeats}, expected at least 1")
        if self.name and self.bench in ("", "all"):
            raise ConfigError(
                f"name={self.name} needs one benchmark: with all of them, each takes its own name"
            )


def run_bench(name: str, config: BenchConfig) -> list[Row]:
    """Run one benchmark by name and return its rows."""
    module = importlib.import_module(f"vjepa_world.bench.{name}")
    rows: list[Row] = module.run(config)
    return rows
