"""Figures with their uncertainty, from few episodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from vjepa_world.errors import VJEPAWorldError


class EvaluationError(VJEPAWorldError):
    """An evaluation cannot be run or summed up as asked."""


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
            f"a Wilson interval got {successes} successes of n={n} at confidence {confidence}; allowed are n of "
            "at least 1, 0 to n successes and a confidence between 0 and 1. Run at least one episode."
        )
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    rate = successes / n
    centre = rate + z * z / (2 * n)
    half_width = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # Rounding may leave the end points a last digit outside where the interval touches 0 or 1.
    return max(0.0, (centre - half_width) / scale), min(1.0, (centre + half_width) / scale)


def percentiles(values: Sequence[float], at: Sequence[float]) -> list[float]:
    """Return percentiles of `values` at places from 0 to 100, interpolated linearly.

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
