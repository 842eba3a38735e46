"""The improved cross-entropy method. Shapes as in `planners.protocols`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Unpack

from torch import Generator, Tensor

from planners.algorithms.cem import CEM
from planners.checks import check_at_least, check_fraction
from planners.protocols import WorldModel
from planners.sampling import coloured_noise
from planners.search import Scored, SearchOptions


class ICEM(CEM):
    r"""CEM that draws smooth sequences, fewer of them as it narrows down, and forgets no good one.

    Noise is coloured (power :math:`f^{-\beta}` along the steps); iteration i draws
    :math:`\max(S \gamma^{-i}, 2 E)` samples; a share of the elites stays in the running for the next
    refit, and in `Plan.kept` for the next search, where `RecedingHorizon` shifts them by what was done (the best
    one in place of any without a finite energy). The model is deterministic, so elites that stay are not imagined
    again.

    Args:
        model, energy, horizon, num_iterations, fixed, slice_size: As in `Search`.
        num_samples: S of the first iteration, 64; 3 iterations.
        num_elites: E, from 1 to `num_samples`.
        noise_exponent: :math:`\beta`, at least 0; of no effect with a horizon of 1.
        sample_decay: :math:`\gamma`, at least 1.
        kept_share: Share of the elites that stays, in [0, 1].
        momentum_mean: Share of the old mean kept: a number, or one for each of A axes.
        momentum_std: Share of the old standard deviation kept, likewise.
        initial_std: First standard deviation in half-widths of the box; None for 0.5.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.

    Source:
        Pinneri et al., Sample-efficient Cross-Entropy Method for Real-time Planning (arXiv:2008.06389).
    """

    SAMPLES, ITERATIONS, STD = 64, 3, 0.5

    def __init__(
        self,
        model: WorldModel,
        *,
        num_elites: int = 8,
        noise_exponent: float = 2.0,
        sample_decay: float = 1.25,
        kept_share: float = 0.3,
        momentum_mean: float | Sequence[float] = 0.1,
        momentum_std: float | Sequence[float] = 0.1,
        initial_std: float | None = None,
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__(
            model,
            num_elites=num_elites,
            momentum_mean=momentum_mean,
            momentum_std=momentum_std,
            initial_std=initial_std,
            **options,
        )
        self.noise_exponent = check_at_least("noise_exponent", noise_exponent, 0.0)
        self.sample_decay = check_at_least("sample_decay", sample_decay, 1.0)
        self.kept_share = check_fraction("kept_share", kept_share, 1)[0]

    def samples_in(self, iteration: int) -> int:
        """Return how many samples an iteration draws, counted from 0."""
        fewest = min(2 * self.num_elites, self.num_samples)
        return max(fewest, math.floor(self.num_samples * self.sample_decay**-iteration))

    def _noise(self, like: Tensor, iteration: int, generators: Sequence[Generator]) -> Tensor:
        return coloured_noise(like, self.samples_in(iteration), generators, self.noise_exponent)

    def _carried(self, scored: Scored) -> Scored | None:
        count = math.floor(self.num_elites * self.kept_share)
        return scored.best(count) if count else None

    def _kept(self, scored: Scored) -> Tensor | None:
        stay = self._carried(scored)
        if stay is None:
            return None
        usable = stay.energies < math.inf
        return stay.samples.where(usable[:, :, None, None], stay.samples[:, :1])  # the first is the best
