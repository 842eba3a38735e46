"""Standard deviation and effective rank of matrices with known singular values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from vjepa_world.ops.feature_statistics import effective_rank, feature_std


def with_singular_values(values: list[float], samples: int = 64, channels: int = 16) -> Tensor:
    """Return centred features `[M, D]` with these singular values."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.randn(samples, len(values), generator=generator, dtype=torch.float64)
    left = torch.linalg.qr(columns - columns.mean(dim=0)).Q
    right = torch.linalg.qr(torch.randn(channels, len(values), generator=generator, dtype=torch.float64)).Q
    return (left * torch.tensor(values, dtype=torch.float64)) @ right.T


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ([5.0], 1.0),
        ([2.0, 2.0, 2.0], 3.0),
        ([3.0, 1.0], math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))),
        ([4.0, 2.0, 1.0, 1.0], 2 ** (0.5 * 1 + 0.25 * 2 + 0.25 * 3)),
    ],
)
def test_effective_rank_of_known_singular_values(values: list[float], rank: float) -> None:
    features = with_singular_values(values)
    assert effective_rank(features) == pytest.approx(rank, rel=1e-4)
    assert effective_rank(0.01 * features + 3.0) == pytest.approx(
        rank, rel=1e-2
    )  # neither scale nor offset matter


@pytest.mark.parametrize("samples", [2, 10, 1000])
def test_features_that_do_not_vary_have_no_rank(samples: int) -> None:
    assert effective_rank(torch.full((samples, 16), 0.1)) == 0
    row = torch.randn(1, 16, generator=torch.Generator().manual_seed(1))
    assert effective_rank(row.expand(samples, 16)) == 0
    assert effective_rank(torch.zeros(samples, 16)) == 0


def test_feature_std_averages_over_channels() -> None:
    features = torch.tensor([[1.0, 10.0, 7.0], [3.0, 10.0, 1.0]])
    assert feature_std(features) == pytest.approx((math.sqrt(2) + 0 + math.sqrt(18)) / 3)
    assert feature_std(features.bfloat16()) == pytest.approx((math.sqrt(2) + math.sqrt(18)) / 3)


def test_features_that_are_not_finite_have_no_rank() -> None:
    features = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))
    features[3, 2] = math.inf
    assert math.isnan(effective_rank(features))
