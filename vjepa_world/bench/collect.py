"""Recording with all cores, including video encoding, compared with one process."""

from __future__ import annotations

import contextlib
import json
import tempfile
from pathlib import Path
from statistics import median

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row
from vjepa_world.runs import RESULT_FILE
from vjepa_world.system.cpu import available_cores

EPISODES, STEPS, MAX_REPEATS = 100, 24, 3


def run(config: BenchConfig) -> list[Row]:
    """Return the frames per second of `collect`, from its start to the finished dataset."""
    rates_of: dict[int, list[float]] = {0: [], 1: []}
    for repeat in range(min(config.repeats, MAX_REPEATS)):
        for workers, rates in rates_of.items():
            rates.append(_frames_per_s(workers, config.seed + repeat))
    return [
        row(
            f"collect, {available_cores()} cores compared with 1",
            median(rates_of[0]),
            median(rates_of[1]),
            "frames/s",
        )
    ]


def _frames_per_s(workers: int, seed: int) -> float:
    from vjepa_world.cli.collect import Config
    from vjepa_world.cli.collect import run as collect

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        collect(Config(name="bench", episodes=EPISODES, steps=STEPS, workers=workers, seed=seed))
        result = json.loads((Path("runs") / "collect" / "bench" / RESULT_FILE).read_text())
    return float(result["frames_per_s"])
