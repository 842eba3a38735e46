"""NT-Xent against loops, known values and finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_world.training.pretrain.losses.contrastive import nt_xent


def embeddings(clips: int, width: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    first, second = torch.randn(2, clips, width, generator=torch.Generator().manual_seed(seed))
    return first * 3, second


def by_loops(first: list[list[float]], second: list[list[float]], temperature: float) -> float:
    """SimCLR's equation 1 over the 2N views in its order: x1, x1', x2, x2', ..."""
    views = [view for pair in zip(first, second, strict=True) for view in pair]

    def score(i: int, k: int) -> float:
        dot = sum(a * b for a, b in zip(views[i], views[k], strict=True))
        return math.exp(dot / (math.hypot(*views[i]) * math.hypot(*views[k])) / temperature)

    total = 0.0
    for i in range(len(views)):
        other = i + 1 if i % 2 == 0 else i - 1
        total -= math.log(score(i, other) / sum(score(i, k) for k in range(len(views)) if k != i))
    return total / len(views)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("clips", [1, 2, 7])
def test_the_loss_is_simclrs_equation(clips: int, temperature: float) -> None:
    first, second = embeddings(clips, 5)
    expected = by_loops(first.tolist(), second.tolist(), temperature)
    assert float(nt_xent(first, second, temperature)) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_identical_features_give_the_loss_of_a_random_guess() -> None:
    same = torch.ones(6, 4)
    assert float(nt_xent(same, same)) == pytest.approx(math.log(11))


def test_orthogonal_clips_have_a_small_loss() -> None:
    """Each view's score is e^(1/t) with its other view and 1 with the 2N - 2 rest."""
    clips = torch.eye(8)
    assert float(nt_xent(clips, clips, 0.5)) == pytest.approx(math.log(1 + 14 * math.exp(-2)), rel=1e-5)


def test_the_loss_is_invariant_to_scale_and_the_order_of_views() -> None:
    first, second = embeddings(5, 6)
    loss = float(nt_xent(first, second))
    assert float(nt_xent(second, first)) == pytest.approx(loss, rel=1e-5)
    assert float(nt_xent(7 * first, 0.1 * second)) == pytest.approx(loss, rel=1e-5)


def test_gradients_are_finite_differences() -> None:
    first, second = embeddings(3, 4, seed=1)
    first.requires_grad_()
    nt_xent(first, second, 0.5).backward()
    assert first.grad is not None
    step = 1e-4
    for at in range(12):
        nudge = torch.zeros(12, dtype=torch.float64).scatter(0, torch.tensor(at), step).view(3, 4)
        up, down = (
            by_loops((first.detach().double() + sign * nudge).tolist(), second.double().tolist(), 0.5)
            for sign in (1, -1)
        )
        assert float(first.grad.flatten()[at]) == pytest.approx((up - down) / (2 * step), abs=1e-5)


def test_under_autocast_scores_keep_their_precision() -> None:
    first, second = embeddings(16, 32)
    expected = float(nt_xent(first, second, 0.05))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(nt_xent(first, second, 0.05)) == pytest.approx(expected, rel=1e-6)
