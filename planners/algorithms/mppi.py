"""Model-predictive path integral control. Shapes as in `planners.protocols`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from planners.algorithms.gaussian_base import GaussianSearch
from planners.bounds import Box
from planners.config import MPPIConfig
from planners.sampling import Gaussian
from planners.search_loop import ScoredSamples


@dataclass(frozen=True, kw_only=True, eq=False)
class MPPI(MPPIConfig, GaussianSearch):
    r"""Move the mean to the average of all samples, weighted by their energies.

    .. math:: \mu \leftarrow \sum_s w_s a_s, \qquad
              w_s = \frac{\exp(-(E_s - \min_r E_r) / \lambda)}{\sum_q \exp(-(E_q - \min_r E_r) / \lambda)}

    Differences from the published algorithm: its standard deviation is constant, and here it may shrink by `std_decay`
    in every iteration (1 is the published choice); the temperature is by default in units of the energies' standard
    deviation, since distances of features have no scale of their own (`temperature_of="energy"` is the published
    choice); there is no term for the cost of control, so that the energy alone decides; and samples are clipped to the
    action bounds, and averaged as clipped.

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.MPPIConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.

    Source:
        Williams et al., Information Theoretic MPC for Model-Based Reinforcement Learning (ICRA 2017, algorithm 2).
    """

    kind: Literal["mppi"] = field(default="mppi", init=False, repr=False)

    def _update(self, gaussian: Gaussian, box: Box, scored: ScoredSamples) -> tuple[Gaussian, Tensor]:
        # Energies may be float64 where the actions are float32.
        weights = torch.stack([self._weights(energies) for energies in scored.energies]).to(gaussian.mean)
        pairs = zip(weights, scored.samples, strict=True)
        mean = torch.stack([(w[:, None, None] * samples).sum(dim=0) for w, samples in pairs])
        above_average = weights > 1 / weights.shape[1]
        return Gaussian(mean, gaussian.std * self.std_decay), above_average

    def _weights(self, energies: Tensor) -> Tensor:
        """Return the weights `[S]` of one problem's samples `[S]`; a sample of infinite energy has weight 0."""
        finite = energies[energies < torch.inf]
        excess = energies - finite.min()
        if self.temperature_of == "spread" and len(finite) > 1:
            excess = excess / _standard_deviation(finite)
        return torch.softmax(-excess / self.temperature, dim=0)


def _standard_deviation(energies: Tensor) -> Tensor:
    """Return the standard deviation of finite energies `[S]`, above 0, also where their squares overflow."""
    limits = torch.finfo(energies.dtype)
    top = energies.abs().max().clamp(min=limits.tiny)
    scaled = (energies / top).std() * top
    plain = energies.std()
    return torch.where(torch.isfinite(plain), plain, scaled.clamp(max=limits.max)).clamp(min=limits.tiny)
