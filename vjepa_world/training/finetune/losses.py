"""The predictions that the action-conditioned predictor is trained on.

Legend: B batch, T frames, N tokens a frame, D width, A action size, S state size, X extrinsics size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.ops.token_error import token_error
from vjepa_world.training.finetune.micro_batches import Piece


@dataclass(frozen=True)
class Predictions:
    """What was predicted of a window.

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


def prediction_losses(found: Predictions, piece: Piece, kind: str = "l1") -> dict[str, Tensor]:
    r"""Return the error of teacher forcing, and that of the rollout where there is one: :math:`\mathrm{mean}\,w\,e`.

    Args:
        found: What was predicted.
        piece: The true features, and the weights of their tokens.
        kind: Of :func:`vjepa_world.ops.token_error.token_error`.
    """
    true = piece.features
    error = token_error(found.teacher_forced, true[:, 1:], kind)
    losses = {"loss_teacher": (error * piece.teacher_forced_weights).mean()}
    steps = found.rollout.shape[1]
    if steps:
        error = token_error(found.rollout, true[:, 1 : steps + 1], kind)
        losses["loss_rollout"] = (error * piece.rollout_weights).mean()
    return losses


def predictions(
    predictor: ActionPredictor,
    features: Tensor,
    actions: Tensor,
    states: Tensor,
    horizon: int,
    extrinsics: Tensor | None = None,
    *,
    embodiment: str | None = None,
) -> Predictions:
    """Predict with teacher forcing, and by feeding predictions back from the first frame.

    The rollout goes on from the keys and values of the steps before, so it costs one step a step.

    Args:
        predictor: The action-conditioned predictor.
        features: True features, `[B, T, N, D]`, T >= horizon + 1.
        actions: From frame to frame, `[B, T-1, A]`.
        states: True states, `[B, T, S]`.
        horizon: Steps K of the rollout, the first of which is teacher forcing's; 1 asks for none.
        extrinsics: Of the camera, `[B, T, X]`.
        embodiment: Name of the robot; None for the predictor's first.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3): teacher forcing and a two-step rollout with true states.
    """
    steps = features.shape[1] - 1
    camera = None if extrinsics is None else extrinsics[:, :steps]
    given = (features[:, :steps].flatten(1, 2), actions, states[:, :steps], camera)
    following = None
    if predictor.config.predict_state:
        flat, following = predictor.forward_with_state(*given, embodiment=embodiment)
    else:
        flat = predictor(*given, embodiment=embodiment)
    teacher_forced = predictor.comparable(flat.unflatten(1, (steps, -1)))
    predicted, cache = [teacher_forced[:, 0]], None
    for step in range(horizon):
        seen = features[:, 0] if step == 0 else predicted[-1]
        if step == 0 and (horizon == 1 or predictor.config.context_frames == 1):
            continue  # the first step is teacher forcing's; only a longer memory needs its keys and values
        at = None if extrinsics is None else extrinsics[:, step]
        newest, cache = predictor.step(
            seen, actions[:, step], states[:, step], at, cache, embodiment=embodiment
        )
        if step:
            predicted.append(predictor.comparable(newest))
    rollout = torch.stack(predicted, dim=1) if horizon > 1 else teacher_forced[:, :0]
    return Predictions(teacher_forced, rollout, following)
