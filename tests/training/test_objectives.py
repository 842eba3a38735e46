"""Objectives against numbers worked out by hand and against slow loops."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.models.reference import randomise
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import ActionPredictorConfig
from vjepa_world.training.objectives import motion_weights, rollout_predictions, weighted_l1


def test_motion_weights_by_hand() -> None:
    current = torch.zeros(1, 1, 2, 2)
    following = torch.tensor([[[[1.0, -1.0], [3.0, 3.0]]]])  # changes 1 and 3, mean 2
    torch.testing.assert_close(motion_weights(current, following, 1.0), torch.tensor([[[0.5, 1.5]]]))
    torch.testing.assert_close(motion_weights(current, following, 0.5), torch.tensor([[[0.75, 1.25]]]))
    assert motion_weights(current, following, 0.0).tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_motion_weights_have_mean_one(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    current, following = torch.randn(2, 3, 4, 5, 6, generator=generator)
    weights = motion_weights(current, following, share)
    assert weights.shape == (3, 4, 5)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) >= 1 - share


def test_where_nothing_moves_the_weights_stay_finite() -> None:
    still = torch.randn(1, 2, 3, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(motion_weights(still, still, 0.8), torch.full((1, 2, 3), 0.2))


def test_weighted_l1_by_hand() -> None:
    predicted = torch.tensor([[[1.0, 1.0], [0.0, 4.0]]])
    loss = weighted_l1(predicted, torch.zeros(1, 2, 2), torch.tensor([[0.5, 1.5]]))
    assert float(loss) == pytest.approx((0.5 * 1 + 1.5 * 2) / 2)


@pytest.mark.parametrize(("context_frames", "normalize"), [(0, False), (1, False), (0, True)])
@pytest.mark.parametrize("horizon", [1, 2, 3])
def test_rollouts_feed_predictions_back_with_true_states(
    horizon: int, context_frames: int, normalize: bool
) -> None:
    batch, frames, tokens, width = 2, 4, 4, 6
    config = ActionPredictorConfig(
        embed_dim=16, depth=1, num_heads=2, context_frames=context_frames, normalize=normalize
    )
    predictor = ActionPredictor(config, width, grid_size=2, action_dim=3, state_dim=3).requires_grad_(False)
    randomise(predictor, seed=0)
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(batch, frames, tokens, width, generator=generator)
    actions, states = torch.randn(2, batch, frames, 3, generator=generator)
    forced, fed = rollout_predictions(predictor, features, actions, states, horizon)
    assert forced.shape == (batch, frames - 1, tokens, width)
    assert fed.shape == (batch, horizon - 1, tokens, width)

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
                forced[window, t], predict(window, truth[: t + 1]), atol=1e-4, rtol=1e-4
            )
        imagined = [truth[0], predict(window, truth[:1])]
        for t in range(1, horizon):
            imagined.append(predict(window, imagined))
            torch.testing.assert_close(fed[window, t - 1], imagined[-1], atol=1e-4, rtol=1e-4)
