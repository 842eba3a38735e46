"""The metrics of a probe run, as `result.json` holds them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vjepa_world.evaluation.probe_metrics import classification_metrics, regression_metrics
from vjepa_world.training.probe.sweep import ProbeSweep, Trial, video_classes, video_values


def summary(sweep: ProbeSweep, trials: Sequence[Trial], batch_size: int, seed: int) -> dict[str, Any]:
    """Return every setting's metrics on the validation videos, and the best one's on the test videos.

    Args:
        sweep: The trained probes.
        trials: What each setting reached on the validation videos.
        batch_size: Clips at once.
        seed: Draws the resamples of intervals.
    """
    best = sweep.best(trials)
    clips = sweep.data.clips
    groups = {part: len(sweep.data.groups[numbers].unique()) for part, numbers in clips.items()}
    return {
        "task": "classification" if sweep.data.is_classification else "regression",
        "labels": list(sweep.data.labels),
        "videos" if sweep.data.is_classification else "episodes": groups,
        "validation": [
            {"lr": trial.setting.lr, "weight_decay": trial.setting.weight_decay}
            | ({"score": trial.score, "loss": trial.loss} if trial.is_finite else {"diverged": True})
            for trial in trials
        ],
        "chosen": {"lr": trials[best].setting.lr, "weight_decay": trials[best].setting.weight_decay},
        "test": metrics_on_test(sweep, best, batch_size, seed),
    }


def metrics_on_test(sweep: ProbeSweep, number: int, batch_size: int, seed: int) -> dict[str, Any]:
    """Return the metrics of probe `number` on the test videos, by which nothing was chosen."""
    data = sweep.data
    clips, train = data.clips["test"], data.clips["train"]
    outputs, groups = sweep.outputs(number, clips, batch_size), data.groups[clips]
    if data.is_classification:
        return classification_metrics(
            video_classes(outputs, groups).numpy(),
            video_values(data.targets[clips], groups).numpy(),
            video_values(data.targets[train], data.groups[train]).numpy(),
            data.labels,
        )
    return regression_metrics(
        outputs.double().numpy(),
        data.targets[clips].double().numpy(),
        data.targets[train].double().mean(dim=0).numpy(),
        groups.numpy(),
        data.labels,
        np.random.default_rng(seed),
    )
