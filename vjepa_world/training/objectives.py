"""The objectives of the action-conditioned predictor, one function an equation.

Legend: B batch, T frames, N tokens a frame, D width, A action size, S state size.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.models.action_predictor import ActionPredictor


def motion_weights(current: Tensor, following: Tensor, share: float) -> Tensor:
    r"""Return token weights of mean one, :math:`1 - \alpha + \alpha\,c_n / \bar c`, c the L1 change of a token.

    With :math:`\alpha = 0` all tokens count alike; towards one the loss is about what moves.

    Args:
        current: Features before, `[B, T, N, D]`.
        following: Features after, the same shape.
        share: :math:`\alpha` in [0, 1].

    Returns:
        `[B, T, N]`.
    """
    change = (following - current).abs().mean(dim=-1)
    return 1 - share + share * change / change.mean().clamp_min(1e-8)


def weighted_l1(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    r"""Return :math:`\mathrm{mean}_n\, w_n\, \mathrm{mean}_d |p_{nd} - z_{nd}|` for `[..., N, D]` and `[..., N]`."""
    return ((predicted.float() - target).abs().mean(dim=-1) * weights).mean()


def rollout_predictions(
    predictor: ActionPredictor, features: Tensor, actions: Tensor, states: Tensor, horizon: int
) -> tuple[Tensor, Tensor]:
    """Predict with teacher forcing, and by feeding predictions back from the first frame.

    Args:
        predictor: The action-conditioned predictor.
        features: True features, `[B, T, N, D]`, T >= horizon + 1.
        actions: `[B, T, A]`, the last one unused.
        states: True states, `[B, T, S]`.
        horizon: Steps of the rollout; 1 adds nothing to teacher forcing.

    Returns:
        Teacher-forced predictions of frames 1..T-1, `[B, T-1, N, D]`, and rolled-out predictions of frames
        2..horizon, `[B, horizon-1, N, D]`.

    Source: V-JEPA 2-AC (arXiv:2506.09985, section 3): teacher forcing and a two-step rollout with true states.
    """
    steps = features.shape[1] - 1
    forced = predictor(features[:, :steps].flatten(1, 2), actions[:, :steps], states[:, :steps])
    forced = predictor.comparable(forced.unflatten(1, (steps, -1)))
    fed = torch.cat([features[:, :1], forced[:, :1]], dim=1)
    seen = predictor.config.context_frames or horizon
    for length in range(2, horizon + 1):
        past = slice(max(length - seen, 0), length)
        predicted = predictor(fed[:, past].flatten(1, 2), actions[:, past], states[:, past])
        newest = predicted.unflatten(1, (past.stop - past.start, -1))[:, -1:]
        fed = torch.cat([fed, predictor.comparable(newest)], dim=1)
    return forced, fed[:, 2:]
