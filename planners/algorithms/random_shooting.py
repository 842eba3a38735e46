"""Random shooting, the control of every other planner. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.sampling import chosen_of, uniform
from planners.search import Scored, Search


class RandomShooting(Search[None]):
    """Draw uniformly from the box, and take the best: what search has to beat at the same number of samples.

    Args:
        model, energy, horizon, num_samples, fixed, slice_size: As in `Search`; 256 samples.
        num_iterations: Iterations, 1, which differ in nothing; the deadline is looked at between them.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.
    """

    SAMPLES, ITERATIONS = 256, 1

    def _begin(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> None:
        return None

    def _sample(self, belief: None, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return uniform(box, self.num_samples, generators)

    def _refit(self, belief: None, box: Box, scored: Scored) -> tuple[None, Tensor]:
        return None, chosen_of(scored.energies.argmin(dim=1, keepdim=True), scored.samples.shape[1])

    def _spread(self, belief: None, box: Box) -> Tensor:
        return torch.full((len(box.low),), 3.0**-0.5, device=box.low.device)  # of a uniform distribution
