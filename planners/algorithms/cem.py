"""The cross-entropy method of V-JEPA 2-AC. Shapes as in `planners.protocols`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from planners.algorithms.gaussian_base import GaussianSearch
from planners.bounds import Box, read_bounds
from planners.config import CEMConfig, EliteSearchConfig
from planners.number_checks import check_fractions
from planners.sampling import Gaussian, elites_of, fit_gaussian, mask_of
from planners.search_loop import ScoredSamples


@dataclass(frozen=True, kw_only=True, eq=False)
class EliteSearch(EliteSearchConfig, GaussianSearch):
    """A planner that fits a Gaussian over action sequences to its best samples, the elites; the update is in `CEM`.

    `momentum_mean` and `momentum_std` are tuples of A numbers here, one for each action axis.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        size = len(read_bounds(self.model)[0])
        for name in ("momentum_mean", "momentum_std"):
            object.__setattr__(self, name, check_fractions(name, getattr(self, name), size))

    def _update(self, gaussian: Gaussian, box: Box, scored: ScoredSamples) -> tuple[Gaussian, Tensor]:
        elites = elites_of(scored.energies, self.num_elites)
        fitted = fit_gaussian(scored.samples, elites)
        momentum_mean = gaussian.mean.new_tensor(self.momentum_mean)
        momentum_std = gaussian.mean.new_tensor(self.momentum_std)
        updated = Gaussian(
            momentum_mean * gaussian.mean + (1 - momentum_mean) * fitted.mean,
            momentum_std * gaussian.std + (1 - momentum_std) * fitted.std,
        )
        return updated, mask_of(elites, scored.samples.shape[1])


@dataclass(frozen=True, kw_only=True, eq=False)
class CEM(CEMConfig, EliteSearch):
    r"""Fit a Gaussian over action sequences to its best samples (the elites) in every iteration.

    .. math:: \mu \leftarrow m_\mu \mu + (1 - m_\mu) \, \mathrm{mean}(elites), \qquad
              \sigma \leftarrow m_\sigma \sigma + (1 - m_\sigma) \, \mathrm{std}(elites)

    V-JEPA 2-AC's values are `num_samples=800, num_iterations=10, num_elites=10, momentum_mean=0.15,
    momentum_std=[0.75] * 6 + [0.15]`: the gripper, the last of its 7 axes, has another momentum.

    There are two differences from the published planner. It returns the last mean without evaluating it, and the mean
    of two good modes can be bad. Here the mean is evaluated too, and `answer="best"` returns the better of the mean and
    the best sample; `answer="mean"` is the published choice, except where the mean's energy is not finite or the
    deadline leaves no time to evaluate it: then the best sample is returned. And the search starts at the centre of the
    action bounds instead of zero, which is the same for symmetric bounds.

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.CEMConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4 and appendix).
    """

    kind: Literal["cem"] = field(default="cem", init=False, repr=False)

    def _best(self, best: ScoredSamples, last: ScoredSamples | None) -> ScoredSamples:
        if self.answer == "best" or last is None:
            return super()._best(best, last)
        diverged = last.energies == torch.inf
        return ScoredSamples(
            best.samples.where(diverged[:, :, None, None], last.samples),
            best.energies.where(diverged, last.energies),
        )
