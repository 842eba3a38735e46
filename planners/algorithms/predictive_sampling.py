"""Predictive sampling. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Generator, Tensor

from planners.algorithms.gaussian_base import GaussianSearch
from planners.bounds import Box
from planners.config import PredictiveSamplingConfig
from planners.sampling import Gaussian, mask_of
from planners.search_loop import ScoredSamples


@dataclass(frozen=True, kw_only=True, eq=False)
class PredictiveSampling(PredictiveSamplingConfig, GaussianSearch):
    r"""Sample around the best sequence so far, and continue from the best of the samples and that sequence.

    .. math:: \mu \leftarrow \arg\min_{a \in \{\mu, a_1, ..., a_S\}} E(a)

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.PredictiveSamplingConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.

    Source:
        Howell et al., Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo (arXiv:2212.00541, section 4).
        The published method samples the knots of splines; here every step is sampled.
    """

    kind: Literal["predictive"] = field(default="predictive", init=False, repr=False)

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        noise = super()._noise(like, iteration, generators)
        if iteration == 0:
            noise[:, 0] = 0.0  # the starting sequence is evaluated too
        return noise

    def _update(self, gaussian: Gaussian, box: Box, scored: ScoredSamples) -> tuple[Gaussian, Tensor]:
        best = scored.energies.argmin(dim=1, keepdim=True)
        mean = scored.samples[torch.arange(len(best), device=best.device), best[:, 0]]
        return Gaussian(mean, gaussian.std), mask_of(best, scored.samples.shape[1])

    def _reused(self, scored: ScoredSamples) -> ScoredSamples | None:
        return scored.best()

    def _final_candidates(self, state: Gaussian, box: Box) -> Tensor | None:
        return None  # the mean is the best sample, whose energy is known
