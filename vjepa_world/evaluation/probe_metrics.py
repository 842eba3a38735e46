"""What a trained probe reaches on videos it has not seen, with an interval and beside the answer that sees nothing.

Legend: m clips, K numbers, G videos or episodes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.statistics import EvaluationError, wilson_interval

RESAMPLES = 2000


def classification_figures(
    predicted: np.ndarray, classes: np.ndarray, train_classes: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Return the share of videos that are right, with its Wilson interval, beside always saying the majority.

    Args:
        predicted: Class of each test video, int `[G]`.
        classes: What it is, `[G]`.
        train_classes: Classes of the training videos; their majority is the baseline.
        names: Of the classes.

    Raises:
        EvaluationError: If there are no videos.
    """
    if not len(classes) or not len(train_classes):
        raise EvaluationError(
            f"a classification got {len(classes)} test and {len(train_classes)} training videos; allowed is at least "
            "one of each. Give more videos."
        )
    majority = int(np.bincount(train_classes).argmax())
    right, always = int((predicted == classes).sum()), int((classes == majority).sum())
    return {
        "videos": len(classes),
        "correct": right,
        "accuracy": right / len(classes),
        "interval": list(wilson_interval(right, len(classes))),
        "baseline": {
            "what": f"always '{names[majority]}', the majority of the training videos",
            "accuracy": always / len(classes),
            "interval": list(wilson_interval(always, len(classes))),
        },
    }


def regression_figures(
    predicted: np.ndarray,
    targets: np.ndarray,
    train_mean: np.ndarray,
    episodes: np.ndarray,
    names: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the errors on test clips, with intervals over episodes, beside always saying the training mean.

    Args:
        predicted: `[m, K]`, in the data's units.
        targets: `[m, K]`.
        train_mean: Of the training clips' targets, `[K]`.
        episodes: Which one each clip is from, `[m]`.
        names: Of the numbers.
        rng: Draws the resamples.
    """
    errors = np.linalg.norm(predicted - targets, axis=1)
    constant = np.linalg.norm(train_mean - targets, axis=1)
    absolute = np.abs(predicted - targets).mean(axis=0)
    return {
        "episodes": len(np.unique(episodes)),
        "clips": len(errors),
        "euclidean_error": float(errors.mean()),
        "interval": list(bootstrap_interval(errors, episodes, rng)),
        "absolute_error": dict(zip(names, absolute.tolist(), strict=True)),
        "baseline": {
            "what": "always the mean of the training clips",
            "euclidean_error": float(constant.mean()),
            "interval": list(bootstrap_interval(constant, episodes, rng)),
        },
    }


def bootstrap_interval(
    values: np.ndarray, groups: np.ndarray, rng: np.random.Generator, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the percentile interval of a mean over values that come in groups.

    Whole groups are drawn with replacement: the clips of one episode look alike, and drawing them one by one would
    give an interval that is too narrow. With few groups it still is.

    Args:
        values: `[m]`.
        groups: Which group each value is of, `[m]`.
        rng: Draws the resamples.
        confidence: Coverage, between 0 and 1.

    Raises:
        EvaluationError: If there are no values, or the confidence is no share.

    Source:
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 8 and 13.
    """
    if not len(values) or not 0 < confidence < 1:
        raise EvaluationError(
            f"a bootstrap interval got {len(values)} values at confidence {confidence}; allowed are at least one value "
            "and a confidence between 0 and 1."
        )
    _, place = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(place, weights=values), np.bincount(place)
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
