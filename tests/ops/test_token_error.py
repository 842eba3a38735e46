"""Token errors and weights against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from vjepa_world.errors import ConfigError
from vjepa_world.ops.token_error import motion_weights, token_change, token_error


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("l1", 2.0), ("l2", 5.0), ("smooth_l1", (0.5 + 2.5) / 2), ("cosine", 1 + 3 / math.sqrt(10))],
)
def test_errors_by_hand(kind: str, expected: float) -> None:
    """Predicted (1, 3) of a true (0, 0), or for the angle of (0, -5): differences 1 and 3, cosine -3/sqrt(10)."""
    predicted = torch.tensor([1.0, 3.0])
    true = torch.tensor([0.0, -5.0]) if kind == "cosine" else torch.zeros(2)
    found = token_error(predicted.double(), true.double(), kind)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected)


def test_an_unknown_error_is_refused() -> None:
    with pytest.raises(ConfigError, match="token error 'l3' is not known; .*l1"):
        token_error(torch.zeros(2), torch.zeros(2), "l3")


def test_motion_weights_by_hand() -> None:
    current = torch.zeros(1, 1, 2, 2)
    change = token_change(current, torch.tensor([[[[1.0, -1.0], [3.0, 3.0]]]]))  # 1 and 3, mean 2
    torch.testing.assert_close(motion_weights(change, 1.0), torch.tensor([[[0.5, 1.5]]]))
    torch.testing.assert_close(motion_weights(change, 0.5), torch.tensor([[[0.75, 1.25]]]))
    torch.testing.assert_close(motion_weights(change, 1.0, torch.tensor(4.0)), torch.tensor([[[0.25, 0.75]]]))
    assert motion_weights(change, 0.0).tolist() == [[[1.0, 1.0]]]


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8, 1.0])
def test_motion_weights_have_mean_one(share: float) -> None:
    current, following = torch.randn(2, 3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    weights = motion_weights(token_change(current, following), share)
    assert weights.shape == (3, 4, 5)
    assert float(weights.mean()) == pytest.approx(1, abs=1e-5)
    assert float(weights.min()) >= 1 - share


def test_where_nothing_moves_the_weights_stay_finite() -> None:
    torch.testing.assert_close(motion_weights(torch.zeros(1, 2, 3), 0.8), torch.full((1, 2, 3), 0.2))
