"""The improved cross-entropy method. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Generator, Tensor

from planners.algorithms.cem import EliteSearch
from planners.config import ICEMConfig
from planners.sampling import coloured_noise
from planners.search_loop import ScoredSamples


@dataclass(frozen=True, kw_only=True, eq=False)
class ICEM(ICEMConfig, EliteSearch):
    r"""CEM with smooth sequences, fewer samples in later iterations, and elites that are reused.

    The update is that of `CEM`. Noise is coloured (power :math:`f^{-\beta}` along the steps); iteration i draws
    :math:`\max(S \gamma^{-i}, 2 E)` samples; a fraction of the elites takes part in the next refit, and is returned in
    `Plan.warm_starts` for the next search, where `RecedingHorizon` shifts them by the executed actions (the best one
    replaces those without a finite energy). The model is deterministic, so reused elites are not imagined again.

    Args:
        model, energy, fixed: As in `Search`.
        horizon, num_samples, ...: Options, see `planners.config.ICEMConfig`.

    Raises:
        PlannerError: If an argument is not allowed or the model's action bounds are not valid.

    Source:
        Pinneri et al., Sample-efficient Cross-Entropy Method for Real-time Planning (arXiv:2008.06389).
    """

    kind: Literal["icem"] = field(default="icem", init=False, repr=False)

    def samples_in(self, iteration: int) -> int:
        """Return the number of samples that an iteration draws; iterations are counted from 0."""
        fewest = min(2 * self.num_elites, self.num_samples)
        return max(fewest, math.floor(self.num_samples * self.sample_decay**-iteration))

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return coloured_noise(like, self.samples_in(iteration), generators, self.noise_exponent)

    def _reused(self, scored: ScoredSamples) -> ScoredSamples | None:
        count = math.floor(self.num_elites * self.reused_elites)
        return scored.best(count) if count else None

    def _warm_starts(self, scored: ScoredSamples) -> Tensor | None:
        reused = self._reused(scored)
        if reused is None:
            return None
        finite = reused.energies < math.inf
        return reused.samples.where(finite[:, :, None, None], reused.samples[:, :1])  # the first is the best
