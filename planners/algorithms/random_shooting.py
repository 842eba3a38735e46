"""Random shooting, the baseline of every other planner. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.config import RandomShootingConfig
from planners.sampling import mask_of, sample_uniform
from planners.search_loop import ScoredSamples, Search


@dataclass(frozen=True, kw_only=True, eq=False)
class RandomShooting(RandomShootingConfig, Search[None]):
    """Sample uniformly within the action bounds and return the best: the baseline at an equal number of samples.

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.RandomShootingConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.
    """

    kind: Literal["random"] = field(default="random", init=False, repr=False)

    def _initial_state(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> None:
        return None

    def _sample(self, state: None, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return sample_uniform(box, self.num_samples, generators)

    def _refit(self, state: None, box: Box, scored: ScoredSamples) -> tuple[None, Tensor]:
        return None, mask_of(scored.energies.argmin(dim=1, keepdim=True), scored.samples.shape[1])

    def _spread(self, state: None, box: Box) -> Tensor:
        return torch.full((len(box.low),), 3.0**-0.5, device=box.low.device)  # of a uniform distribution
