"""Losses against numbers computed by hand and slow loops."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.reference import randomise
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EmbodimentConfig,
    EncoderConfig,
    GoalReaderConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.training.finetune.losses import goal_reader_loss, prediction_losses
from vjepa_world.training.finetune.micro_batch import MicroBatch
from vjepa_world.training.finetune.predictions import Predictions, predict_windows


@pytest.mark.parametrize(("context_frames", "normalize"), [(0, False), (1, False), (0, True)])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_rollouts_feed_predictions_back_with_true_states(
    horizon: int, context_frames: int, normalize: bool
) -> None:
    batch, frames, tokens, width = 2, 4, 4, 6
    config = ActionPredictorConfig(
        embed_dim=16, depth=1, num_heads=2, context_frames=context_frames, normalize=normalize
    )
    robot = EmbodimentConfig(action_dim=3, state_dim=3)
    predictor = ActionPredictor(config, width, (2, 2), (robot,)).requires_grad_(False)
    randomise(predictor, seed=0)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(batch, frames, tokens, width, generator=generator)
    actions, states = torch.randn(2, batch, frames, 3, generator=generator)
    found = predict_windows(predictor, features, actions[:, :-1], states, horizon)
    teacher_forced, rollout = found.teacher_forced, found.rollout
    assert teacher_forced.shape == (batch, frames - 1, tokens, width)
    assert rollout.shape == (batch, horizon if horizon > 1 else 0, tokens, width)

    def predict(window: int, past: list[Tensor]) -> Tensor:
        count = len(past)
        seen = torch.cat(past)[None]
        newest = predictor(seen, actions[window, :count][None], states[window, :count][None])[0, -tokens:]
        if not normalize:
            return newest
        centred = newest - newest.mean(dim=-1, keepdim=True)
        return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()

    for window in range(batch):
        truth = list(features[window])
        for t in range(frames - 1):
            torch.testing.assert_close(
                teacher_forced[window, t], predict(window, truth[: t + 1]), atol=1e-4, rtol=1e-4
            )
        imagined = [truth[0], predict(window, truth[:1])]
        for t in range(1, horizon):
            imagined.append(predict(window, imagined))
            torch.testing.assert_close(rollout[window, t], imagined[-1], atol=1e-4, rtol=1e-4)


def micro_batch(features: Tensor, states: Tensor, **given: Tensor) -> MicroBatch:
    """Return windows with features `[B, T, N, D]` and states `[B, T, S]`; weights that are not given are zeros."""
    windows, weights = len(features), torch.zeros(features.shape[:3])
    first = torch.zeros(windows, dtype=torch.long)
    values: dict[str, Any] = {
        "actions": states[:, 1:],
        "extrinsics": None,
        "images": None,
        "teacher_forced_weights": weights[:, 1:],
        "rollout_weights": weights[:, 1:],
        "reconstruction_weights": weights,
        "later_frame": first + 1,
        "decoded_frame": first,
        "episodes": first,
    }
    return MicroBatch(
        embodiment="default", frozen=features, features=features, states=states, **values | given
    )


def test_losses_by_hand() -> None:
    """Two tokens of width 2: errors 1 and 2 in the teacher-forced step, 3 and 0, then 0 and 1 in the rollout ones."""
    teacher_forced = torch.tensor([[[[1.0, 1.0], [0.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    rollout = torch.tensor([[[[3.0, -3.0], [0.0, 0.0]], [[0.0, 0.0], [2.0, 0.0]]]])
    batch = micro_batch(
        torch.zeros(1, 3, 2, 2),
        torch.zeros(1, 3, 2),
        teacher_forced_weights=torch.tensor([[[0.5, 1.5], [1.0, 1.0]]]),
        rollout_weights=torch.tensor([[[2.0, 0.0], [0.0, 4.0]]]),
    )
    losses = prediction_losses(Predictions(teacher_forced, rollout), batch)
    assert losses["loss_teacher"].item() == pytest.approx((0.5 * 1 + 1.5 * 2) / 4)
    assert losses["loss_rollout"].item() == pytest.approx((2 * 3 + 4 * 1) / 4)


def test_the_goal_reader_is_trained_on_states_of_the_same_episode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three windows: two of one episode read each other's frames, the third its own; angles take the short way."""
    config = WorldModelConfig(
        encoder=EncoderConfig(image_size=32, embed_dim=16, depth=1, num_heads=2),
        predictor=ActionPredictorConfig(embed_dim=16, depth=1, num_heads=2),
        latents=LatentsConfig(kind="none"),
        goal_reader=GoalReaderConfig(depth=1, embed_dim=8),
    )
    model = LatentWorldModel(config)
    states = torch.zeros(3, 2, 7)
    states[:, :, 0] = torch.tensor([[0.0, 1.0], [3.0, 5.0], [10.0, 17.0]])
    states[0, 0, 5], states[1, 1, 5] = 3.0, -3.0

    def look(frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return frames[:, 0, :1], frames[:, 0, :1]

    seen: list[torch.Tensor] = []

    def read(now: torch.Tensor, goal: torch.Tensor, state: torch.Tensor, name: str) -> torch.Tensor:
        seen.append(torch.cat([now, goal], dim=1))
        return torch.zeros(len(now), 7)

    monkeypatch.setattr(model.goal_reader, "look", look)
    monkeypatch.setattr(model.goal_reader, "change", read)
    batch = micro_batch(
        torch.arange(6.0).view(3, 2, 1, 1).expand(3, 2, 4, 16),  # window 0: 0 1, window 1: 2 3, window 2: 4 5
        states,
        episodes=torch.tensor([4, 4, 6]),
    )
    loss, error, no_motion = goal_reader_loss(model, batch)
    pairs = [(now, goal) for now in range(4) for goal in range(4)] + [(4, 4), (4, 5), (5, 4), (5, 5)] * 2
    assert sorted(map(tuple, seen[0].tolist())) == sorted(pairs)
    turn = (
        2 * math.pi - 6.0
    )  # from 0 to 3 and from 3 to 5, and back: 1, 3, 5, 2, 4, 2; angles 3, 3, turn, 0, 3, 3
    moved = 2 * (1 + 3 + 5 + 2 + 4 + 2) + 2 * (3 + 3 + turn + 0 + 3 + 3) + 4 * 7
    wanted = moved / (len(pairs) * 7)
    assert error.item() == pytest.approx(wanted) and no_motion.item() == pytest.approx(wanted)
    assert 0 < loss.item() < error.item()
