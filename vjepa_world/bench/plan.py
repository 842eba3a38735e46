"""One planned action of the shipped model, beside the published search budget on the same model."""

from __future__ import annotations

import torch

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row, time_pair

TURNS = 3


def run(config: BenchConfig) -> list[Row]:
    """Return the seconds from a picture to an action, encoding included, with the default and published search."""
    import numpy as np

    from vjepa_world.training.hardware import resolve_device, set_threads
    from vjepa_world.verbs.common import SHIPPED, EnvConfig, PlannerConfig

    set_threads(0)
    env, device = EnvConfig(variation="test").make(), resolve_device(config.device)
    observation, info = env.reset(seed=config.seed)
    # V-JEPA 2-AC's search (arXiv:2506.09985).
    published = PlannerConfig(horizon=1, num_samples=800, num_iterations=10, num_elites=10)
    sides = []
    for planner in (PlannerConfig(), published):
        policy = planner.policy(SHIPPED, env, device)
        policy.reset(info["goal_image"], np.random.default_rng(config.seed))
        sides.append(policy)
    with torch.no_grad():
        pair = time_pair(
            lambda: sides[0].act(observation),
            lambda: sides[1].act(observation),
            repeats=min(config.repeats, TURNS),
            synchronize=torch.cuda.synchronize if device.type == "cuda" else None,
        )
    env.close()
    name = "planned action, default search against the published"
    return [row(name, pair.ours, pair.baseline, "s", lower_is_better=True)]
