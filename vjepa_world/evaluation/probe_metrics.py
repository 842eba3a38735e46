"""Metrics of a trained probe on test videos, with intervals, compared with a constant prediction.

Legend: m clips, K target numbers, G videos.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.statistics import EvaluationError, mean, wilson_interval


def classification_metrics(
    predicted: np.ndarray, classes: np.ndarray, train_classes: np.ndarray, names: Sequence[str]
) -> dict[str, Any]:
    """Return the accuracy on videos with its Wilson interval, and that of always answering the majority class.

    Args:
        predicted: Predicted class of each test video, int `[G]`.
        classes: True class of each, int `[G]`.
        train_classes: Classes of the training videos, int `[any]`; their majority is the baseline.
        names: Names of the classes.

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


def regression_metrics(
    predicted: np.ndarray,
    targets: np.ndarray,
    train_mean: np.ndarray,
    episodes: np.ndarray,
    names: Sequence[str],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return the errors on test clips with intervals over episodes, and those of always answering the training mean.

    Args:
        predicted: Predicted numbers, `[m, K]`, in the data's units.
        targets: True numbers, `[m, K]`.
        train_mean: Mean of the training clips' targets, `[K]`.
        episodes: The episode of each clip, `[m]`.
        names: Names of the K numbers.
        rng: Draws the resamples.
    """
    errors = np.linalg.norm(predicted - targets, axis=1)
    constant = np.linalg.norm(train_mean - targets, axis=1)
    absolute = np.abs(predicted - targets).mean(axis=0)
    return {
        "episodes": len(np.unique(episodes)),
        "clips": len(errors),
        "euclidean_error": float(errors.mean()),
        "interval": mean(errors, episodes, rng).as_json()["interval"],
        "absolute_error": dict(zip(names, absolute.tolist(), strict=True)),
        "baseline": {
            "what": "always the mean of the training clips",
            "euclidean_error": float(constant.mean()),
            "interval": mean(constant, episodes, rng).as_json()["interval"],
        },
    }
