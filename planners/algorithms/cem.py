"""The cross-entropy method of V-JEPA 2-AC. Shapes as in `planners.protocols`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Unpack

from torch import Tensor

from planners.algorithms.gaussian_search import GaussianSearch
from planners.bounds import Box, read_box
from planners.checks import check_choice, check_count, check_fraction
from planners.protocols import WorldModel
from planners.sampling import Gaussian, chosen_of, elites_of, fit_gaussian
from planners.search import Scored, SearchOptions


class CEM(GaussianSearch):
    r"""Fit a Gaussian over action sequences to its own best samples, again and again.

    .. math:: \mu \leftarrow m_\mu \mu + (1 - m_\mu) \, \mathrm{mean}(elites), \qquad
              \sigma \leftarrow m_\sigma \sigma + (1 - m_\sigma) \, \mathrm{std}(elites)

    The defaults are V-JEPA 2-AC's; there the gripper axis alone has `momentum_std` 0.15, which a sequence of A
    numbers expresses.

    Two departures. The published planner returns the last mean without looking at it: two good modes
    can average to a bad mean. Here the mean is scored too, and `answer="best"` returns the better of
    the mean and the best sample seen; `answer="mean"` is the published choice, but where the mean's energy is
    not finite, or a deadline leaves no time to score it: then the best sample is returned. And the box's centre
    replaces zero, which is the same for a symmetric box.

    Args:
        model, energy, horizon, num_samples, num_iterations, fixed, slice_size: As in `Search`; 800 x 10.
        num_elites: Samples refitted to, from 1 to `num_samples`.
        momentum_mean: Share of the old mean kept, in [0, 1]: a number, or one for each of A axes.
        momentum_std: Share of the old standard deviation kept, likewise.
        initial_std: First standard deviation in half-widths of the box, above 0; None for 1.
        answer: "best" or "mean", as above.

    Raises:
        PlannerError: If an argument is not allowed or the model's bounds are not a box.

    Source:
        V-JEPA 2-AC (arXiv:2506.09985, section 4 and appendix).
    """

    SAMPLES, ITERATIONS, STD = 800, 10, 1.0

    def __init__(
        self,
        model: WorldModel,
        *,
        num_elites: int = 10,
        momentum_mean: float | Sequence[float] = 0.15,
        momentum_std: float | Sequence[float] = 0.75,
        initial_std: float | None = None,
        answer: Literal["best", "mean"] = "best",
        **options: Unpack[SearchOptions],
    ) -> None:
        super().__init__(model, initial_std=initial_std, **options)
        size = len(read_box(model)[0])
        self.num_elites = check_count(
            "num_elites", num_elites, most=self.num_samples, most_name="num_samples"
        )
        self.momentum_mean = check_fraction("momentum_mean", momentum_mean, size)
        self.momentum_std = check_fraction("momentum_std", momentum_std, size)
        self.answer = check_choice("answer", answer, ("best", "mean"))

    def _update(self, belief: Gaussian, box: Box, scored: Scored) -> tuple[Gaussian, Tensor]:
        elites = elites_of(scored.energies, self.num_elites)
        fitted = fit_gaussian(scored.samples, elites)
        keep_mean, keep_std = (belief.mean.new_tensor(m) for m in (self.momentum_mean, self.momentum_std))
        updated = Gaussian(
            keep_mean * belief.mean + (1 - keep_mean) * fitted.mean,
            keep_std * belief.std + (1 - keep_std) * fitted.std,
        )
        return updated, chosen_of(elites, scored.samples.shape[1])

    def _answer(self, best: Scored, last: Scored | None) -> Scored:
        if self.answer == "best" or last is None:
            return super()._answer(best, last)
        diverged = last.energies == float("inf")
        return Scored(
            best.samples.where(diverged[:, :, None, None], last.samples),
            best.energies.where(diverged, last.energies),
        )
