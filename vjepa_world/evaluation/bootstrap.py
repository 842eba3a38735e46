"""Intervals of figures over windows that come in episodes: whole episodes are drawn with replacement.

Legend: m windows, G episodes, R resamples, k sums.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vjepa_world.evaluation.statistics import EvaluationError

RESAMPLES = 2000


@dataclass(frozen=True)
class Figure:
    """A value with its interval, `[low, high]`; all None where it is not defined (a division by zero)."""

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | list[float | None] | None]:
        """Return it as it stands in `result.json`."""
        return {"value": self.value, "interval": [self.low, self.high]}


UNDEFINED = Figure(None, None, None)


def resampled_sums(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the sums of `values [m, k]` over drawn groups, `[R, k]`: what any ratio of sums is resampled from.

    Args:
        values: `[m, k]`.
        groups: Which episode each row is of, `[m]`.
        rng: Draws the groups.

    Raises:
        EvaluationError: If there are no values.
    """
    if not len(values):
        raise EvaluationError(
            "a bootstrap got no values; allowed is at least one. Give longer episodes or more."
        )
    _, place = np.unique(groups, return_inverse=True)
    sums = np.zeros((place.max() + 1, values.shape[1]))
    np.add.at(sums, place, values)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    return np.stack([sums[picked].sum(axis=0) for picked in drawn])


def ratio(
    numerator: np.ndarray, denominator: np.ndarray, groups: np.ndarray, rng: np.random.Generator
) -> Figure:
    r"""Return :math:`\sum_m a_m / \sum_m b_m` of `[m]` and `[m]`, undefined where the sum below is zero."""
    sums = resampled_sums(np.stack([numerator, denominator], axis=1).astype(np.float64), groups, rng)
    below = float(np.sum(denominator, dtype=np.float64))
    if below == 0 or (sums[:, 1] == 0).any():
        return UNDEFINED
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return Figure(float(np.sum(numerator, dtype=np.float64)) / below, float(low), float(high))


def mean(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Figure:
    """Return the mean of `[m]` with its 95 % interval."""
    return ratio(values, np.ones(len(values)), groups, rng)


def median(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Figure:
    """Return the median of `[m]` with its 95 % interval.

    Raises:
        EvaluationError: If there are no values.
    """
    if not len(values):
        raise EvaluationError(
            "a median got no values; allowed is at least one. Give longer episodes or more."
        )
    _, place = np.unique(groups, return_inverse=True)
    members = [values[place == group] for group in range(place.max() + 1)]
    drawn = rng.integers(len(members), size=(RESAMPLES, len(members)))
    medians = [np.median(np.concatenate([members[group] for group in picked])) for picked in drawn]
    low, high = np.quantile(medians, [0.025, 0.975])
    return Figure(float(np.median(values)), float(low), float(high))
