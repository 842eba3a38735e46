"""Latent losses against loops in float64 and numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.masking.token_distance import distance_to_hidden
from vjepa_world.training.pretrain.losses.jepa import (
    Distance,
    context_weights,
    latent_distance,
    normalize_levels,
)

KINDS: tuple[Distance, ...] = ("l1", "l2", "smooth_l1")


def rho(error: float, kind: Distance) -> float:
    if kind == "l1":
        return abs(error)
    if kind == "l2" or abs(error) < 1:
        return error**2 / 2
    return abs(error) - 0.5


def features(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_distances_by_loops(kind: Distance, weighted: bool) -> None:
    predicted, target = features(2, 3, 4), features(2, 3, 4, seed=1)
    weights = features(2, 3, seed=2).abs() if weighted else torch.ones(2, 3)
    total = 0.0
    for b in range(2):
        for i in range(3):
            pairs = zip(predicted[b, i].tolist(), target[b, i].tolist(), strict=True)
            total += float(weights[b, i]) * sum(rho(p - z, kind) for p, z in pairs) / 4
    found = latent_distance(predicted, target, kind, weights if weighted else None)
    assert float(found) == pytest.approx(total / 6, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_of_one_change_nothing(kind: Distance) -> None:
    predicted, target = features(2, 5, 8), features(2, 5, 8, seed=1)
    torch.testing.assert_close(
        latent_distance(predicted, target, kind, torch.ones(2, 5)), latent_distance(predicted, target, kind)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_finite_differences(kind: Distance) -> None:
    """The losses are computed in float32, so the step is wide; no error lies near a kink."""
    predicted, target = features(1, 2, 3).requires_grad_(), features(1, 2, 3, seed=4)
    weights = torch.tensor([[0.5, 2.0]])
    latent_distance(predicted, target, kind, weights).backward()
    step = 1e-2
    assert ((predicted - target).detach().abs() - 1).abs().min() > step
    assert (predicted - target).detach().abs().min() > step
    assert predicted.grad is not None
    for at in range(6):
        nudge = torch.zeros(6).scatter(0, torch.tensor(at), step).view(1, 2, 3)
        up, down = (
            float(latent_distance(predicted.detach() + sign * nudge, target, kind, weights))
            for sign in (1, -1)
        )
        assert float(predicted.grad.flatten()[at]) == pytest.approx((up - down) / (2 * step), abs=1e-4)


def test_each_level_is_normalised_separately() -> None:
    levels = features(2, 5, 3 * 4) * torch.tensor([1.0, 10.0, 0.1]).repeat_interleave(4) + 3
    found = normalize_levels(levels, 3)
    for token, expected in zip(levels.flatten(0, 1).tolist(), found.flatten(0, 1).tolist(), strict=True):
        for level in range(3):
            part = token[4 * level : 4 * level + 4]
            middle = sum(part) / 4
            deviation = math.sqrt(sum((x - middle) ** 2 for x in part) / 4 + 1e-5)
            normal = [(x - middle) / deviation for x in part]
            assert expected[4 * level : 4 * level + 4] == pytest.approx(normal, abs=1e-4)
    assert not torch.allclose(found, normalize_levels(levels), atol=0.1)


def test_with_levels_it_is_the_mean_of_the_levels_losses() -> None:
    predicted, target = features(2, 5, 12), normalize_levels(features(2, 5, 12, seed=1), 3)
    apart = [latent_distance(p, z) for p, z in zip(predicted.chunk(3, -1), target.chunk(3, -1), strict=True)]
    torch.testing.assert_close(latent_distance(predicted, target), torch.stack(apart).mean())


def test_vjepa2s_loss_normalises_the_target_but_not_the_prediction() -> None:
    target = torch.tensor([[[1.0, 3.0], [10.0, -30.0]]])  # normalised: -1 1 and 1 -1
    predicted = torch.tensor([[[0.0, 0.0], [1.0, 2.0]]])
    found = latent_distance(predicted, normalize_levels(target))
    assert float(found) == pytest.approx((1 + 1 + 0 + 3) / 4, abs=1e-4)


def test_context_weights_by_hand() -> None:
    """On a row of 10 tokens whose last is hidden the others are 9, 8, .. 1 away."""
    context, hidden = torch.arange(9).unsqueeze(0), torch.tensor([[9]])
    weights = context_weights(distance_to_hidden(context, hidden, (1, 1, 10)), 0.5)
    assert weights[0].tolist() == pytest.approx([0.5 / math.sqrt(9 - i) for i in range(9)])
    nothing = distance_to_hidden(context, torch.empty(1, 0, dtype=torch.int64), (1, 1, 10))
    assert context_weights(nothing, 0.5).tolist() == [[0.0] * 9]


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_is_compared_in_float32(kind: Distance) -> None:
    predicted, target = features(4, 50, 32).bfloat16(), features(4, 50, 32, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = latent_distance(predicted, normalize_levels(target), kind, torch.ones(4, 50))
    assert found.dtype == torch.float32
    exact = latent_distance(predicted.float(), normalize_levels(target), kind)
    assert float(found) == pytest.approx(float(exact), rel=1e-6)
