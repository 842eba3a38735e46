"""The parts that planners with a Gaussian over action sequences share. Shapes as in `planners.protocols`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from planners.bounds import Box
from planners.config import GaussianSearchConfig
from planners.sampling import Gaussian, sample_gaussian, white_noise
from planners.search_loop import ScoredSamples, Search


@dataclass(frozen=True, kw_only=True, eq=False)
class GaussianSearch(GaussianSearchConfig, Search[Gaussian]):
    """A planner that samples around a mean, clips the samples to the action bounds, and evaluates the last mean too.

    It starts at the centre of the bounds (or at the warm start) with a standard deviation of `initial_std` half-widths.
    """

    @abstractmethod
    def _update(self, gaussian: Gaussian, box: Box, scored: ScoredSamples) -> tuple[Gaussian, Tensor]:
        """Return the new Gaussian, and the samples that it was computed from, bool `[B, S]`."""

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        """Return normal noise `[B, S, K, A]` of unit variance for a mean `like [B, K, A]`."""
        return white_noise(like, self.num_samples, generators)

    def _initial_state(self, box: Box, starts: Tensor | None, generators: Sequence[Generator]) -> Gaussian:
        return Gaussian(box.centre if starts is None else starts[:, 0], box.half_width * self.initial_std)

    def _sample(self, state: Gaussian, box: Box, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return sample_gaussian(state, self._noise(state.mean, iteration, generators), box)

    def _refit(self, state: Gaussian, box: Box, scored: ScoredSamples) -> tuple[Gaussian, Tensor]:
        # Rounding may move the mean of equal numbers out of bounds whose low and high are equal.
        (mean, std), selected = self._update(state, box, scored)
        return Gaussian(box.clamp(mean), std), selected

    def _final_candidates(self, state: Gaussian, box: Box) -> Tensor | None:
        return state.mean.unsqueeze(1)

    def _spread(self, state: Gaussian, box: Box) -> Tensor:
        pairs = zip(state.std, box.half_width, strict=True)
        relative = [(std / half_width)[half_width > 0] for std, half_width in pairs]
        return torch.stack([r.mean() if r.numel() else r.new_zeros(()) for r in relative])
