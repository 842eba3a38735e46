"""What the action-conditioned predictor predicts of a window: with teacher forcing, and in a rollout.

Legend: B windows, T frames, N tokens per frame, D width, A action size, S state size, X extrinsics size, K steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor


@dataclass(frozen=True)
class Predictions:
    """The predictions of a batch of windows.

    Attributes:
        teacher_forced: Frames 1..T-1, each from the true frames before it, `[B, T-1, N, D]`.
        rollout: Frames 1..K, each from the first true frame and the predictions between, `[B, K, N, D]`;
            `[B, 0, N, D]` without a rollout.
        states: States at frames 1..T-1, each from the true frames before it, `[B, T-1, S]`; None if the predictor
            predicts no states.
    """

    teacher_forced: Tensor
    rollout: Tensor
    states: Tensor | None = None


def predict_windows(
    predictor: ActionPredictor,
    features: Tensor,
    actions: Tensor,
    states: Tensor,
    horizon: int,
    extrinsics: Tensor | None = None,
    *,
    embodiment: str | None = None,
) -> Predictions:
    """Predict with teacher forcing, and in a rollout from the first frame that feeds predictions back.

    The rollout reuses the cached keys and values of earlier steps.

    Args:
        predictor: The action-conditioned predictor.
        features: True features, `[B, T, N, D]`, T >= horizon + 1.
        actions: Actions from frame to frame, `[B, T-1, A]`.
        states: True states, `[B, T, S]`.
        horizon: Steps K of the rollout, the first of which is teacher forcing's; 1 for no rollout.
        extrinsics: Poses of the camera, `[B, T, X]`; None if the predictor does not use them.
        embodiment: Name of the robot; None for the predictor's first.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3): teacher forcing and a two-step rollout with true states.
    """
    steps = features.shape[1] - 1
    camera = None if extrinsics is None else extrinsics[:, :steps]
    inputs = (features[:, :steps].flatten(1, 2), actions, states[:, :steps], camera)
    following = None
    if predictor.config.predict_state:
        flat, following = predictor.forward_with_state(*inputs, embodiment=embodiment)
    else:
        flat = predictor(*inputs, embodiment=embodiment)
    teacher_forced = predictor.normalize_prediction(flat.unflatten(1, (steps, -1)))
    predicted, cache = [teacher_forced[:, 0]], None
    for step in range(horizon):
        frame = features[:, 0] if step == 0 else predicted[-1]
        if step == 0 and (horizon == 1 or predictor.config.context_frames == 1):
            continue  # the first step is teacher forcing's; only a predictor with a longer context needs its keys
        pose = None if extrinsics is None else extrinsics[:, step]
        newest, cache = predictor.step(
            frame, actions[:, step], states[:, step], pose, cache, embodiment=embodiment
        )
        if step:
            predicted.append(predictor.normalize_prediction(newest))
    rollout = torch.stack(predicted, dim=1) if horizon > 1 else teacher_forced[:, :0]
    return Predictions(teacher_forced, rollout, following)
