"""Time of one planned action of the shipped model, from image to action: median and high percentiles."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from planners.config import CEMConfig, ICEMConfig
from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair
from vjepa_world.environments.config import EnvConfig
from vjepa_world.evaluation.statistics import percentiles
from vjepa_world.planning.build import load_policy
from vjepa_world.planning.config import SHIPPED, ExecutionConfig, InferenceConfig, PlanningConfig
from vjepa_world.planning.policy import Problem

if TYPE_CHECKING:
    import gymnasium

#: Number of actions whose times are measured for the percentiles.
ACTIONS = 300

#: Repetitions of the published search.
PUBLISHED_REPEATS = 3

#: V-JEPA 2-AC's search (arXiv:2506.09985).
PUBLISHED = PlanningConfig(planner=CEMConfig(num_samples=800, num_iterations=10, num_elites=10))

#: Reaches the goal as often as the default with a fifth of its samples (results: docs/planning.md).
QUICK = PlanningConfig(
    planner=ICEMConfig(num_samples=20, num_elites=5, initial_std=1.0), execution=ExecutionConfig(propose=True)
)


def shipped_rows(config: BenchConfig, device: torch.device) -> list[Row]:
    """Return the rows of the shipped model: seconds per action, including encoding."""
    env = EnvConfig(variation="test").make()
    observation, info = env.reset(seed=config.seed)
    box = cast("gymnasium.spaces.Box", env.action_space)

    def actor(planning: PlanningConfig) -> Callable[[], Any]:
        policy = load_policy(SHIPPED, planning, device, action_low=box.low, action_high=box.high)
        policy.reset([Problem(info["goal_image"], np.random.default_rng(config.seed))])
        return lambda: policy.act([observation])

    default, published, quick = (actor(planning) for planning in (PlanningConfig(), PUBLISHED, QUICK))
    exact = actor(PlanningConfig(inference=InferenceConfig(precision="float32")))
    wait = torch.cuda.synchronize if device.type == "cuda" else None
    rows = []
    with torch.no_grad():
        for name, side in (("the published one", published), ("float32", exact), ("the quick one", quick)):
            repeats = PUBLISHED_REPEATS if side is published else config.repeats
            pair = time_pair(default, side, repeats=repeats, synchronize=wait)
            label = f"planned action, default search compared with {name}"
            rows.append(row(label, pair.ours, pair.baseline, "s", lower_is_better=True))
        times = _seconds(default, ACTIONS)
    env.close()
    middle, *worst = percentiles(times, (50, 95, 99))
    for percent, seconds in zip((95, 99), worst, strict=True):
        label = f"planned action, {percent}th percentile compared with the median"
        rows.append(row(label, seconds, middle, "s", lower_is_better=True))
    return rows


def _seconds(side: Callable[[], Any], count: int) -> list[float]:
    taken = []
    for _ in range(count):
        started = time.perf_counter()
        side()  # the action is in CPU memory, so the device has finished
        taken.append(time.perf_counter() - started)
    return taken
