"""New weights from a seed, without changing the state of torch's global generator."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let modules that are made in the block draw their weights on the CPU from `seed`.

    PyTorch's initialisers draw from the global CPU generator. Its state is restored when the block ends.
    """
    state = torch.random.get_rng_state()
    torch.random.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.random.set_rng_state(state)
