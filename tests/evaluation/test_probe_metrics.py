"""Figures of a probe, by hand; the bootstrap against what is known of a mean."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_world.evaluation.probe_metrics import (
    bootstrap_interval,
    classification_figures,
    regression_figures,
)
from vjepa_world.evaluation.statistics import EvaluationError


def test_accuracy_beside_the_majority_of_the_training_videos() -> None:
    classes = np.array([0] * 15 + [1] * 133)
    predicted = np.where(np.arange(148) < 15, 0, 2)
    found = classification_figures(predicted, classes, np.array([1, 0, 0]), ("a", "b", "c"))
    assert (found["videos"], found["correct"], found["accuracy"]) == (148, 15, 15 / 148)
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert found["interval"] == pytest.approx([0.0624, 0.1605], abs=5.1e-5)
    assert found["baseline"]["what"] == "always 'a', the majority of the training videos"
    assert found["baseline"]["accuracy"] == 15 / 148


def test_errors_beside_the_training_mean() -> None:
    targets = np.array([[0.0, 0.0], [3.0, 4.0]])
    found = regression_figures(
        np.zeros((2, 2)),
        targets,
        np.array([3.0, 0.0]),
        np.array([0, 1]),
        ("x", "y"),
        np.random.default_rng(0),
    )
    assert (found["episodes"], found["clips"], found["euclidean_error"]) == (2, 2, 2.5)
    assert found["absolute_error"] == {"x": 1.5, "y": 2.0}
    assert found["interval"] == [0.0, 5.0]
    assert found["baseline"]["euclidean_error"] == 3.5
    assert found["baseline"]["interval"] == [3.0, 4.0]


def test_the_interval_of_independent_values_is_that_of_their_mean() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5.0, 2.0, 400)
    low, high = bootstrap_interval(values, np.arange(400), rng)
    half_width = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half_width, values.mean() + half_width), abs=0.05)


def test_values_of_one_group_count_once() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(5.0, 2.0, 40)
    repeated, groups = np.repeat(values, 10), np.repeat(np.arange(40), 10)
    whole = np.subtract(*bootstrap_interval(values, np.arange(40), np.random.default_rng(1)))
    assert np.subtract(*bootstrap_interval(repeated, groups, np.random.default_rng(1))) == pytest.approx(
        whole
    )
    apart = np.subtract(*bootstrap_interval(repeated, np.arange(400), np.random.default_rng(1)))
    assert apart == pytest.approx(whole / np.sqrt(10), rel=0.1)


def test_large_groups_count_by_their_size() -> None:
    values, groups = np.array([1.0] * 90 + [0.0] * 10), np.array([0] * 90 + [1] * 10)
    assert bootstrap_interval(values, groups, np.random.default_rng(0)) == (0.0, 1.0)
    middle = bootstrap_interval(values, groups, np.random.default_rng(0), confidence=0.3)
    assert middle == pytest.approx((0.9, 0.9))


def test_no_values_have_no_interval() -> None:
    with pytest.raises(EvaluationError, match="got 0 values at confidence 0.95"):
        bootstrap_interval(np.zeros(0), np.zeros(0), np.random.default_rng(0))
