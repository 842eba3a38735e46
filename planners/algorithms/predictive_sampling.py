"""Predictive sampling. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from planners.algorithms.gaussian_search import GaussianSearch
from planners.bounds import Box
from planners.sampling import Gaussian, chosen_of
from planners.search import Scored


class PredictiveSampling(GaussianSearch):
    r"""Draw around the best sequence so far, and go on from the best of what was drawn and of itself.

    .. math:: \mu \leftarrow \arg\min_{a \in \{\mu, a_1, ..., a_S\}} E(a)

    Args:
        model, energy, horizon, num_samples, fixed, slice_size: As in `Search`; 64 samples.
        num_iterations: Iterations, 4; the published method has one for each action.
        initial_std: Standard deviation in half-widths of the box, 0.4, the same throughout.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.

    Source:
        Howell et al., Predictive Sampling: Real-time Behaviour Synthesis with MuJoCo (arXiv:2212.00541, section 4).
        The published one draws the knots of splines; here every step is drawn.
    """

    SAMPLES, ITERATIONS, STD = 64, 4, 0.4

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        noise = super()._noise(like, iteration, generators)
        if iteration == 0:
            noise[:, 0] = 0.0  # what it begins with is tried too
        return noise

    def _update(self, belief: Gaussian, box: Box, scored: Scored) -> tuple[Gaussian, Tensor]:
        best = scored.energies.argmin(dim=1, keepdim=True)
        nominal = scored.samples[torch.arange(len(best), device=best.device), best[:, 0]]
        return Gaussian(nominal, belief.std), chosen_of(best, scored.samples.shape[1])

    def _carried(self, scored: Scored) -> Scored | None:
        return scored.best()

    def _candidates(self, belief: Gaussian, box: Box) -> Tensor | None:
        return None  # it is the best sample, which is scored already
