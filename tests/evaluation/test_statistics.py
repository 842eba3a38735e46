"""Success-rate intervals and percentiles against published numbers; the bootstrap against the known error of a mean."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_world.evaluation.statistics import (
    EvaluationError,
    mean,
    median,
    paired_difference,
    percentiles,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_gives_the_published_values(successes: int, n: int, low: float, high: float) -> None:
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=5.1e-5)


def test_wilson_limits_solve_the_score_equation() -> None:
    # Its derivation: both limits p satisfy |rate - p| = z sqrt(p (1 - p) / n), with z = 1.645 at 90 %.
    for limit in wilson_interval(17, 20, confidence=0.90):
        assert abs(17 / 20 - limit) == pytest.approx(1.6448536 * (limit * (1 - limit) / 20) ** 0.5, rel=1e-6)


def test_wilson_interval_is_symmetric_and_inside_0_and_1() -> None:
    low, high = wilson_interval(20, 20)
    mirrored_low, mirrored_high = wilson_interval(0, 20)
    assert (low, high) == pytest.approx((1 - mirrored_high, 1 - mirrored_low))
    assert high <= 1.0
    assert mirrored_low >= 0.0


@pytest.mark.parametrize(
    ("successes", "n", "confidence"), [(0, 0, 0.95), (3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)]
)
def test_wilson_interval_refuses_impossible_counts(successes: int, n: int, confidence: float) -> None:
    with pytest.raises(
        EvaluationError, match=f"got {successes} successes of n={n} at confidence {confidence}"
    ):
        wilson_interval(successes, n, confidence)


def test_percentiles_interpolate() -> None:
    assert percentiles([4.0, 1.0, 2.0, 3.0], (0, 50, 90, 100)) == pytest.approx([1.0, 2.5, 3.7, 4.0])


def test_percentiles_refuse_empty_and_nan_input() -> None:
    with pytest.raises(EvaluationError, match="got 0 values"):
        percentiles([], (50,))
    with pytest.raises(EvaluationError, match="got 2 values, 1 of them not finite"):
        percentiles([1.0, float("nan")], (50,))


def test_the_interval_of_independent_values_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5.0, 2.0, 400)
    low, high = interval(values, np.arange(400), rng)
    half_width = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.05)


def test_values_of_one_group_count_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5.0, 2.0, 40)
    repeated, groups = np.repeat(values, 10), np.repeat(np.arange(40), 10)
    whole = np.subtract(*interval(values, np.arange(40), np.random.default_rng(1)))
    assert np.subtract(*interval(repeated, groups, np.random.default_rng(1))) == pytest.approx(whole)
    apart = np.subtract(*interval(repeated, np.arange(400), np.random.default_rng(1)))
    assert apart == pytest.approx(whole / np.sqrt(10), rel=0.1)


def test_one_group_has_a_value_and_no_interval() -> None:
    values, rng = np.array([1.0, 2.0, 6.0]), np.random.default_rng(0)
    for groups, has_interval in ((np.zeros(3), False), (np.array([0, 0, 1]), True)):
        for found, value in ((mean(values, groups, rng), 3.0), (median(values, groups, rng), 2.0)):
            assert found.value == value
            assert (found.low is not None, found.high is not None) == (has_interval, has_interval)


def test_large_groups_count_by_their_size() -> None:
    values, groups = np.array([1.0] * 90 + [0.0] * 10), np.array([0] * 90 + [1] * 10)
    assert interval(values, groups, np.random.default_rng(0)) == (0.0, 1.0)
    middle = interval(values, groups, np.random.default_rng(0), confidence=0.3)
    assert middle == pytest.approx((0.9, 0.9))


def interval(
    values: np.ndarray, groups: np.ndarray, rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    found = mean(values, groups, rng, confidence)
    assert found.low is not None and found.high is not None
    return found.low, found.high


def test_no_values_have_no_interval() -> None:
    with pytest.raises(EvaluationError, match="bootstrap interval got 0 values"):
        interval(np.zeros(0), np.zeros(0), np.random.default_rng(0))
    with pytest.raises(EvaluationError, match="bootstrap interval got 0 values"):
        median(np.zeros(0), np.zeros(0), np.random.default_rng(0))
    with pytest.raises(EvaluationError, match="got confidence 1.0; it must be between 0 and 1"):
        mean(np.ones(3), np.arange(3), np.random.default_rng(0), confidence=1.0)


def outcomes(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = (both, first, second, neither)
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


def test_a_paired_difference_covers_the_true_one_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.25, 0.1, 0.15])  # solved by both, the first alone, the second alone, neither
    draws = rng.multinomial(60, shares, size=2000)
    found = [paired_difference(*outcomes(*map(int, counts))) for counts in draws]
    covered = np.mean([e.low <= 0.15 <= e.high for e in found if e.low is not None and e.high is not None])
    assert 0.94 <= covered <= 0.975
    assert np.mean([e.value for e in found if e.value is not None]) == pytest.approx(0.15, abs=0.01)


def test_pairing_narrows_the_interval_where_outcomes_agree() -> None:
    agreeing, opposed = paired_difference(*outcomes(30, 6, 2, 30)), paired_difference(*outcomes(4, 32, 28, 4))
    assert agreeing.value == opposed.value == pytest.approx(4 / 68)
    assert agreeing.high - agreeing.low < 0.5 * (opposed.high - opposed.low)  # type: ignore[operator]


def test_a_paired_difference_is_antisymmetric_inside_its_range_and_wide_without_discordant_pairs() -> None:
    first, second = outcomes(10, 5, 1, 4)
    ours, theirs = paired_difference(first, second), paired_difference(second, first)
    assert (ours.low, ours.high) == pytest.approx((-theirs.high, -theirs.low))  # type: ignore[operator]
    same = paired_difference(*outcomes(20, 0, 0, 0))
    # Both rates are 1 with lower limits of 0.8389 (Wilson, 20 of 20), and no correlation is known.
    assert (same.value, same.low, same.high) == pytest.approx((0.0, -0.1611, 0.1611), abs=1e-4)
    assert paired_difference(*outcomes(0, 20, 0, 0)).high == pytest.approx(1.0)


def test_a_paired_difference_needs_as_many_of_both() -> None:
    with pytest.raises(EvaluationError, match="got 2 and 3 episodes; allowed is at least one, and as many"):
        paired_difference(np.ones(2, bool), np.ones(3, bool))
