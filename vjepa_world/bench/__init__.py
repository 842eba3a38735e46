"""Benchmarks: each one a module here with `run(config: BenchConfig) -> list[Row]`, started by `vjepa-world bench NAME`.

Importing this package imports no torch: the names are known before anything is measured.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import Literal

from vjepa_world.bench.harness import Pair, Row, report, row, time_pair
from vjepa_world.config.ranges import SEED
from vjepa_world.errors import ConfigError, nearest

BENCHES = {
    "pretrain": "a pretraining step beside the same step written plainly: speed, share of the matrix rate, memory",
    "finetune": "a fine-tuning step beside the same step written plainly: speed, memory; with its cache beside none",
    "encoder": "the video encoder beside transformers' on the same weights, and how fast weights load",
    "collect": "recording episodes with all cores, beside one process",
    "data": "clips decoded out of h264 beside decord, a loader's clips, and how long a pretraining waits for them",
    "scan": "opening a list of a million rows, and a folder of files, whose headers are in the index",
    "planner": "a plan beside the published loop written plainly: speed, memory; actions of the shipped model",
    "probe": "position of the end effector read off the frozen features, beside an untrained encoder and pixels",
    "render": "a frame of the arm, beside MuJoCo's default picture quality",
    "machine": "what this machine can do: matrix products in bfloat16 beside float32, and copying memory",
}

__all__ = ["BENCHES", "BenchConfig", "Pair", "Row", "report", "row", "run_bench", "time_pair"]


@dataclass(frozen=True, kw_only=True)
class BenchConfig:
    """What every benchmark is told.

    Attributes:
        bench: Which benchmark; `all` for every one, empty to list them
        name: Folder under `runs/bench` for the result; the benchmark's own name unless given
        repeats: Turns of each side; the medians are reported
        device: auto, cpu or cuda
        seed: Seed of whatever input is drawn
    """

    bench: str = ""
    name: str = ""
    repeats: int = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    seed: int = field(default=0, metadata=SEED)

    def __post_init__(self) -> None:
        """Refuse an unknown benchmark and a number of turns that has no median."""
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
