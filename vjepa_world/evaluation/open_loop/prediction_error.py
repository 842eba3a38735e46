"""Prediction error by horizon, compared with baselines that ignore the actions.

Legend: W windows, B windows of a batch, K horizon, N tokens per frame, D width, A action size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from vjepa_world.evaluation.open_loop.protocols import Progress, RolloutModel, no_progress
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.statistics import EvaluationError, mean, ratio
from vjepa_world.ops.token_error import motion_weights, token_change, token_error


@dataclass(frozen=True, eq=False)
class ErrorCurves:
    """L1 errors of each window by horizon, float64 `[W, K]`.

    Attributes:
        model: Of a rollout with the true actions.
        copy: Of the first frame, as if nothing moved.
        shuffled: Of a rollout with the actions of another window.
    """

    model: np.ndarray
    copy: np.ndarray
    shuffled: np.ndarray


@dataclass(frozen=True, eq=False)
class HorizonErrors:
    """Errors by horizon: the mean over all tokens (`plain`), and weighted towards moving tokens (`moving`)."""

    plain: ErrorCurves
    moving: ErrorCurves


def derangement(size: int, generator: Generator) -> Tensor:
    """Return a permutation `[size]` without a fixed point: one random cycle through all.

    Raises:
        EvaluationError: If `size` is below 2.
    """
    if size < 2:
        raise EvaluationError(f"{size} windows cannot be permuted without a fixed point; give at least 2.")
    order = torch.randperm(size, generator=generator)
    permuted = torch.empty_like(order)
    permuted[order] = order.roll(1)
    return permuted


@torch.no_grad()
def horizon_errors(
    model: RolloutModel,
    windows: Windows,
    *,
    generator: Generator,
    motion_share: float = 0.8,
    batch: int = 32,
    progress: Progress = no_progress,
) -> HorizonErrors:
    """Roll the model out from the first frame of each window and measure its error at each step.

    The model sees no true frame and no true state after the first one.

    Args:
        model: The world model.
        windows: Features and true actions.
        generator: Draws the window whose actions each gets in the shuffled baseline.
        motion_share: Weight of moving tokens in the weighted error, in [0, 1].
        batch: Windows in one batch.
        progress: Called with the number of windows of each batch; all windows count twice.
    """
    change = _change(windows)
    # Each horizon alone: tokens change more at later steps, and no horizon may count for another.
    weights = torch.stack([motion_weights(by_token, motion_share) for by_token in change.unbind(1)], dim=1)
    shuffled = windows.actions[derangement(len(windows), generator)]
    tokens = {
        "model": _token_errors(model, windows, windows.actions, batch, progress),
        "copy": change,
        "shuffled": _token_errors(model, windows, shuffled, batch, progress),
    }
    plain = {name: errors.double().mean(dim=2).numpy() for name, errors in tokens.items()}
    moving = {name: (errors * weights).double().mean(dim=2).numpy() for name, errors in tokens.items()}
    return HorizonErrors(ErrorCurves(**plain), ErrorCurves(**moving))


def predict_features(model: RolloutModel, windows: Windows, indices: Tensor) -> Tensor:
    """Return the features `[B, K, N, D]` that the model predicts for the true actions of windows at `indices [B]`."""
    return _predict(model, windows, windows.actions, indices)


def horizon_metrics(
    errors: HorizonErrors, episodes: np.ndarray, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return the errors and their ratios at each horizon, with 95 % intervals over `episodes [W]`, ready for JSON."""
    return [
        {
            "horizon": k + 1,
            "plain": _metrics(errors.plain, k, episodes, rng),
            "moving": _metrics(errors.moving, k, episodes, rng),
        }
        for k in range(errors.plain.model.shape[1])
    ]


def _metrics(curves: ErrorCurves, k: int, episodes: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    model, copy, shuffled = curves.model[:, k], curves.copy[:, k], curves.shuffled[:, k]
    return {
        "model": mean(model, episodes, rng).as_json(),
        "copy_last_frame": mean(copy, episodes, rng).as_json(),
        "shuffled_actions": mean(shuffled, episodes, rng).as_json(),
        "ratio_to_copy": ratio(model, copy, episodes, rng).as_json(),
        "ratio_to_shuffled": ratio(model, shuffled, episodes, rng).as_json(),
    }


def _change(windows: Windows) -> Tensor:
    """Return the change of each token since the first frame, `[W, K, N]`; one frame at a time, to save memory."""
    first = windows.features[:, 0]
    steps = range(1, windows.horizon + 1)
    return torch.stack([token_change(first, windows.features[:, k]) for k in steps], dim=1)


def _token_errors(
    model: RolloutModel, windows: Windows, actions: Tensor, batch: int, progress: Progress
) -> Tensor:
    """Return the error of each token, `[W, K, N]`, for actions `[W, K, A]`."""
    found = []
    for indices in windows.batches(batch):
        predicted = _predict(model, windows, actions, indices)
        found.append(token_error(predicted, windows.features[indices, 1:]))
        progress(len(indices))
    return torch.cat(found)


def _predict(model: RolloutModel, windows: Windows, actions: Tensor, indices: Tensor) -> Tensor:
    device = model.action_low.device
    return (
        model.rollout_sequences(windows.context(indices, device), actions[indices].to(device)).float().cpu()
    )
