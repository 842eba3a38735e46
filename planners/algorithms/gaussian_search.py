"""What planners share that believe in a Gaussian over action sequences. Shapes as in `planners.protocols`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Unpack

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.checks import check_positive
from planners.protocols import WorldModel
from planners.sampling import Gaussian, white_noise, within
from planners.search import Scored, Search, SearchOptions


class GaussianSearch(Search[Gaussian]):
    """Draws around a mean, clips to the box, and scores the last mean too.

    It begins at the box's centre (or the warm start) with `initial_std` half-widths.

    Args:
        model, energy, horizon, num_samples, num_iterations, fixed, slice_size: As in `Search`.
        initial_std: First standard deviation in half-widths of the box, above 0; None for `STD` of the planner.

    Raises:
        PlannerError: If an argument is not allowed.
    """

    STD: ClassVar[float]

    def __init__(
        self, model: WorldModel, *, initial_std: float | None = None, **options: Unpack[SearchOptions]
    ) -> None:
        super().__init__(model, **options)
        self.initial_std = check_positive("initial_std", self.STD if initial_std is None else initial_std)

    @abstractmethod
    def _update(self, belief: Gaussian, box: Box, scored: Scored) -> tuple[Gaussian, Tensor]:
        """Return the new Gaussian, and which samples it was made from, bool `[B, S]`."""

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        """Return normal noise `[B, S, K, A]` of unit variance."""
        return white_noise(like, self.num_samples, generators)

    def _begin(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> Gaussian:
        return Gaussian(box.centre if starts is None else starts[:, 0], box.half * self.initial_std)

    def _sample(self, belief: Gaussian, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return within(belief, self._noise(belief.mean, iteration, generators), box)

    def _refit(self, belief: Gaussian, box: Box, scored: Scored) -> tuple[Gaussian, Tensor]:
        # The mean of equal numbers may round to a neighbour of theirs, outside a box that is a point.
        (mean, std), chosen = self._update(belief, box, scored)
        return Gaussian(box.clamp(mean), std), chosen

    def _candidates(self, belief: Gaussian, box: Box) -> Tensor | None:
        return belief.mean.unsqueeze(1)

    def _spread(self, belief: Gaussian, box: Box) -> Tensor:
        widths = zip(belief.std, box.half, strict=True)
        relative = [(std / half)[half > 0] for std, half in widths]
        return torch.stack([r.mean() if r.numel() else r.new_zeros(()) for r in relative])
