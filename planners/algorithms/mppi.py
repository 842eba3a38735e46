"""Model-predictive path integral control. Shapes as in `planners.protocols`."""

from __future__ import annotations

from typing import Unpack

import torch
from torch import Tensor

from planners.algorithms.gaussian_search import GaussianSearch
from planners.bounds import Box
from planners.checks import check_choice, check_positive, check_share
from planners.protocols import WorldModel
from planners.sampling import Gaussian
from planners.search import Scored, SearchOptions


class MPPI(GaussianSearch):
    r"""Move the mean to the average of all samples, weighted by how good they are.

    .. math:: \mu \leftarrow \sum_s w_s a_s, \qquad
              w_s = \frac{\exp(-(E_s - \min_r E_r) / \lambda)}{\sum_q \exp(-(E_q - \min_r E_r) / \lambda)}

    Departures from the published algorithm: it has one standard deviation for good, and here it may shrink by
    `std_decay` with every iteration (1 is the published choice); the temperature is by default in units of the
    energies' standard deviation, since distances of features have no scale of their own (`temperature_of="energy"` is
    the published choice); there is no term for the cost of control, so that the energy alone weighs; and samples are
    clipped to the box, and averaged as clipped.

    Args:
        model, energy, horizon, num_samples, num_iterations, fixed, slice_size: As in `Search`; 256 x 6.
        temperature: :math:`\lambda`, above 0: the smaller, the more the best sample alone counts.
        temperature_of: "spread": of the standard deviation of the finite energies of an iteration; "energy": of
            the energy itself.
        initial_std: First standard deviation in half-widths of the box; None for 0.5.
        std_decay: What it is multiplied with after an iteration, above 0 and at most 1.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.

    Source:
        Williams et al., Information Theoretic MPC for Model-Based Reinforcement Learning (ICRA 2017, algorithm 2).
    """

    SAMPLES, ITERATIONS, STD = 256, 6, 0.5

    def __init__(
        self,
        model: WorldModel,
        *,
        temperature: float = 0.1,
        temperature_of: str = "spread",
        std_decay: float = 0.6,
        initial_std: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__(model, initial_std=initial_std, **options)
        self.temperature = check_positive("temperature", temperature)
        self.temperature_of = check_choice("temperature_of", temperature_of, ("spread", "energy"))
        self.std_decay = check_share("std_decay", std_decay)

    def _update(self, belief: Gaussian, box: Box, scored: Scored) -> tuple[Gaussian, Tensor]:
        # Energies may be wider than actions, which keep their type.
        weights = torch.stack([self._weights(energies) for energies in scored.energies]).to(belief.mean)
        pairs = zip(weights, scored.samples, strict=True)
        mean = torch.stack([(w[:, None, None] * samples).sum(dim=0) for w, samples in pairs])
        chosen = weights > 1 / weights.shape[1]  # they count for more than their number
        return Gaussian(mean, belief.std * self.std_decay), chosen

    def _weights(self, energies: Tensor) -> Tensor:
        """Return the weights `[S]` of one problem's samples; a diverged one has none."""
        finite = energies[energies < torch.inf]
        worse = energies - finite.min()
        if self.temperature_of == "spread" and len(finite) > 1:
            worse = worse / _spread(finite)
        return torch.softmax(-worse / self.temperature, dim=0)


def _spread(energies: Tensor) -> Tensor:
    """Return the standard deviation of finite energies, above 0, also where their squares are too large for numbers."""
    limits = torch.finfo(energies.dtype)
    top = energies.abs().max().clamp(min=limits.tiny)
    scaled = (energies / top).std() * top
    spread = energies.std()
    return torch.where(torch.isfinite(spread), spread, scaled.clamp(max=limits.max)).clamp(min=limits.tiny)
