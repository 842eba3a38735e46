"""Metrics of a probe, computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from vjepa_world.evaluation.probe_metrics import classification_metrics, regression_metrics


def test_accuracy_is_compared_with_the_majority_class_of_training() -> None:
    classes = np.array([0] * 15 + [1] * 133)
    predicted = np.where(np.arange(148) < 15, 0, 2)
    found = classification_metrics(predicted, classes, np.array([1, 0, 0]), ("a", "b", "c"))
    assert (found["videos"], found["correct"], found["accuracy"]) == (148, 15, 15 / 148)
    # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
    assert found["interval"] == pytest.approx([0.0624, 0.1605], abs=5.1e-5)
    assert found["baseline"]["what"] == "always 'a', the majority of the training videos"
    assert found["baseline"]["accuracy"] == 15 / 148


def test_errors_are_compared_with_the_training_mean() -> None:
    targets = np.array([[0.0, 0.0], [3.0, 4.0]])
    found = regression_metrics(
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
