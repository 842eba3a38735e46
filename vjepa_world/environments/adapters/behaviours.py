"""What acts while an adapter's environment is recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

#: Largest spread of an episode's noise, in half-widths of the action bounds.
_LARGEST_SPREAD = 1.0
#: Steps that expert or noise act before one of them is drawn again.
_STRETCH = (3, 15)
#: Share of the stretches that are noise alone.
_SHARE_OF_NOISE = 0.3


def noisy_expert(env: Any, rng: np.random.Generator) -> Callable[[Mapping[str, Any]], np.ndarray]:
    """Return a behaviour for recordings: the environment's expert with noise, interrupted by noise alone.

    For `behaviour=vjepa_world.environments.adapters.behaviours:noisy_expert`. Each episode draws its spread of
    noise, so that some succeed and many fail.

    Args:
        env: An environment with `expert()`.
        rng: All randomness.
    """
    expert, low, high = env.expert(), env.action_space.low, env.action_space.high
    spread = rng.uniform(0, _LARGEST_SPREAD) * (high - low) / 2
    offset, noise_only, left = np.zeros_like(low), False, 0

    def act(observation: Mapping[str, Any]) -> np.ndarray:
        nonlocal offset, noise_only, left
        if not left:
            left, noise_only = int(rng.integers(*_STRETCH)), rng.uniform() < _SHARE_OF_NOISE
            offset = spread * rng.normal(size=low.shape)
        left -= 1
        base = (low + high) / 2 if noise_only else expert.act(observation)
        jitter = 0.3 * spread * rng.normal(size=low.shape)
        drawn: np.ndarray = np.clip(base + (offset if noise_only else 0.0) + jitter, low, high)
        return drawn.astype(np.float32)

    return act
