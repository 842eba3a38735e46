"""A success rate and its interval, percentiles, and bootstrap intervals over episodes.

Legend: m values, G groups (episodes), R resamples, k columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vjepa_world.errors import VJEPAWorldError

#: Number of bootstrap resamples.
RESAMPLES = 2000

#: Groups from which on there is an interval over them.
LEAST_GROUPS = 2

#: Groups that are drawn at once: a limit of the memory.
_AT_ONCE = 10**6


class EvaluationError(VJEPAWorldError):
    """An evaluation cannot be run or summarised as requested."""


class SuccessRate(NamedTuple):
    """A success rate with its Wilson interval, each in [0, 1]."""

    rate: float
    low: float
    high: float


def success_rate(successes: int, n: int, confidence: float = 0.95) -> SuccessRate:
    """Return the rate of `successes` in `n` episodes with its interval; see :func:`wilson_interval`.

    Raises:
        EvaluationError: If an argument is outside its range.
    """
    low, high = wilson_interval(successes, n, confidence)
    return SuccessRate(successes / n, low, high)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    r"""Return the Wilson score interval of a success rate.

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    It stays inside [0, 1] and does not shrink to a point when all or none succeed.

    Args:
        successes: From 0 to `n`.
        n: Independent episodes, at least 1.
        confidence: Coverage, between 0 and 1.

    Returns:
        Lower and upper limit of the rate.

    Raises:
        EvaluationError: If an argument is outside its range.

    Source:
        Wilson, Journal of the American Statistical Association 22 (1927); Newcombe, Statistics in
        Medicine 17 (1998), method 3.
    """
    if n < 1 or not 0 <= successes <= n or not 0.0 < confidence < 1.0:
        raise EvaluationError(
            f"wilson_interval got {successes} successes of n={n} at confidence {confidence}; allowed are n of "
            "at least 1, 0 to n successes and a confidence between 0 and 1. Run at least one episode."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half_width = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding may leave the limits a last digit outside where the interval touches 0 or 1.
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def paired_difference(first: np.ndarray, second: np.ndarray, confidence: float = 0.95) -> Estimate:
    r"""Return the difference of two success rates on the same n episodes, with its interval.

    With :math:`e, f, g, h` episodes solved by both, the first alone, the second alone and neither, Wilson limits
    :math:`l_i, u_i` of both rates :math:`p_i`, and their correlation :math:`\phi`,

    .. math:: \frac{f - g}{n} - \sqrt{a^2 - 2 \phi a b + b^2}, \quad a = p_1 - l_1, \ b = u_2 - p_2

    is the lower limit, and the upper one likewise, with both rates exchanged. It stays inside [-1, 1].

    Args:
        first: Successes of the first policy, bool `[n]`.
        second: Of the second one on the same episodes, bool `[n]`.
        confidence: Coverage, between 0 and 1.

    Raises:
        EvaluationError: If there are no episodes, or not as many of both.

    Source:
        Newcombe, Statistics in Medicine 17 (1998) 2635, method 10.
    """
    n = len(first)
    if not n or len(second) != n:
        raise EvaluationError(
            f"a paired difference got {n} and {len(second)} episodes; allowed is at least one, and as many of both. "
            "Run both policies on the same episodes."
        )
    rates = [success_rate(int(np.sum(outcomes)), n, confidence) for outcomes in (first, second)]
    phi = _correlation(np.asarray(first, dtype=bool), np.asarray(second, dtype=bool))
    (p1, l1, u1), (p2, l2, u2) = rates

    def reach(a: float, b: float) -> float:
        return math.sqrt(max(a * a - 2 * phi * a * b + b * b, 0.0))

    value = p1 - p2
    return Estimate(value, value - reach(p1 - l1, u2 - p2), value + reach(u1 - p1, p2 - l2))


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the correlation of two outcomes, bool `[n]`, less a continuity correction where it is positive."""
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    one, other = int((first & ~second).sum()), int((~first & second).sum())
    margins = (both + one) * (other + neither) * (both + other) * (one + neither)
    if not margins:
        return 0.0
    excess = both * neither - one * other
    return (max(excess - n / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def percentiles(values: Sequence[float], at: Sequence[float]) -> list[float]:
    """Return the percentiles `at` (from 0 to 100) of `values`, interpolated linearly.

    Raises:
        EvaluationError: If there are no values or one is not finite.
    """
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.size == 0 or not np.isfinite(numbers).all():
        raise EvaluationError(
            f"percentiles got {numbers.size} values, {int((~np.isfinite(numbers)).sum())} of them not finite; "
            "allowed is at least one, all finite. Run at least one episode and look for NaN in its record."
        )
    return [float(p) for p in np.percentile(numbers, at)]


@dataclass(frozen=True)
class Estimate:
    """A value with its interval, `[low, high]`.

    All are None where it is not defined (a division by zero), and the limits alone where there is no interval: the
    resamples of one group are all alike, which says nothing of other groups.
    """

    value: float | None
    low: float | None
    high: float | None

    def as_json(self) -> dict[str, float | list[float | None] | None]:
        """Return it as `result.json` holds it."""
        return {"value": self.value, "interval": [self.low, self.high]}


def bootstrap_sums(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the column sums of resampled values: whole groups are drawn with replacement.

    The values of one episode resemble each other. Drawing them one by one would give intervals that are too narrow.
    With few groups they still are.

    Args:
        values: `[m, k]`.
        groups: The group of each row, `[m]`.
        rng: Draws the groups.

    Returns:
        Sums, `[R, k]`.

    Raises:
        EvaluationError: If there are no values.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    index, drawn = _draw_groups(len(values), groups, rng)
    sums = np.zeros((drawn.shape[1], values.shape[1]))
    np.add.at(sums, index, values)
    parts = np.array_split(drawn, max(drawn.size // _AT_ONCE, 1))
    return np.concatenate([sums[picked].sum(axis=1) for picked in parts])


def ratio(
    numerator: np.ndarray,
    denominator: np.ndarray,
    groups: np.ndarray,
    rng: np.random.Generator,
    confidence: float = 0.95,
) -> Estimate:
    r"""Return :math:`\sum_m a_m / \sum_m b_m` with its interval; undefined where the denominator is zero.

    Of one group there is no interval.

    Args:
        numerator: :math:`a`, `[m]`.
        denominator: :math:`b`, `[m]`.
        groups: The episode of each value, `[m]`.
        rng: Draws the resamples.
        confidence: Coverage, between 0 and 1.

    Raises:
        EvaluationError: If there are no values, or the confidence is not between 0 and 1.
    """
    if not 0 < confidence < 1:
        raise EvaluationError(
            f"a bootstrap interval got confidence {confidence}; it must be between 0 and 1, as 0.95."
        )
    sums = bootstrap_sums(np.stack([numerator, denominator], axis=1).astype(np.float64), groups, rng)
    total = float(np.sum(denominator, dtype=np.float64))
    if total == 0 or (sums[:, 1] == 0).any():
        return Estimate(None, None, None)
    value = float(np.sum(numerator, dtype=np.float64)) / total
    if len(np.unique(groups)) < LEAST_GROUPS:
        return Estimate(value, None, None)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(value, float(low), float(high))


def mean(
    values: np.ndarray, groups: np.ndarray, rng: np.random.Generator, confidence: float = 0.95
) -> Estimate:
    """Return the mean of `values [m]` with its interval over `groups [m]`; see :func:`ratio`."""
    return ratio(values, np.ones(len(values)), groups, rng, confidence)


def median(values: np.ndarray, groups: np.ndarray, rng: np.random.Generator) -> Estimate:
    """Return the median of `values [m]` with its 95 % interval over `groups [m]`; of one group there is none.

    Raises:
        EvaluationError: If there are no values.
    """
    index, drawn = _draw_groups(len(values), groups, rng)
    if drawn.shape[1] < LEAST_GROUPS:
        return Estimate(float(np.median(values)), None, None)
    members = [values[index == group] for group in range(drawn.shape[1])]
    medians = [np.median(np.concatenate([members[group] for group in picked])) for picked in drawn]
    low, high = np.quantile(medians, [0.025, 0.975])
    return Estimate(float(np.median(values)), float(low), float(high))


def _draw_groups(count: int, groups: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the number of each value's group `[m]` and the groups of each resample `[R, G]`."""
    if not count:
        raise EvaluationError(
            "a bootstrap interval got 0 values; allowed is at least one. Give longer episodes, or more of them."
        )
    names, index = np.unique(groups, return_inverse=True)
    return index, rng.integers(len(names), size=(RESAMPLES, len(names)))
