"""Regularizers against collapse: loops in float64, closed forms, known expectations, finite differences."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.ops.regularizers import covariance_penalty, random_directions, sigreg, variance_hinge


def sample(rows: int, width: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def mixed(rows: int, width: int, seed: int) -> Tensor:
    """Return rows with correlated channels of standard deviations 0.2 to 2 and a mean other than 0."""
    spread = torch.linspace(0.2, 2.0, width, dtype=torch.float64)
    return (sample(rows, width, seed) @ (torch.eye(width, dtype=torch.float64) + 0.3)) * spread + 0.7


def test_the_variance_hinge_by_loops() -> None:
    features = mixed(7, 5, 0)
    total = 0.0
    for channel in features.T.tolist():
        middle = sum(channel) / 7
        variance = sum((x - middle) ** 2 for x in channel) / 6
        total += max(0.0, 1 - math.sqrt(variance + 1e-4))
    assert total > 0
    assert float(variance_hinge(features)) == pytest.approx(total / 5, rel=1e-12)


def test_the_variance_hinge_is_0_where_channels_vary_enough_and_gamma_where_they_do_not() -> None:
    spread = torch.tensor([[-1.0], [1.0]]).expand(-1, 3)  # a deviation of sqrt(2)
    assert float(variance_hinge(spread)) == 0
    assert float(variance_hinge(spread, gamma=2.0)) == pytest.approx(2 - math.sqrt(2), abs=1e-4)
    assert float(variance_hinge(torch.ones(4, 3))) == pytest.approx(1 - 0.01)
    assert float(variance_hinge(torch.ones(4, 3), eps=0.0, gamma=3.0)) == 3


def test_the_covariance_penalty_by_loops() -> None:
    features = mixed(6, 4, 1)
    means = [sum(c) / 6 for c in features.T.tolist()]
    total = 0.0
    for i in range(4):
        for j in range(4):
            if i != j:
                together = sum((row[i] - means[i]) * (row[j] - means[j]) for row in features.tolist())
                total += (together / 5) ** 2
    assert float(covariance_penalty(features)) == pytest.approx(total / 4, rel=1e-12)


def test_the_covariance_penalty_of_known_channels() -> None:
    a = torch.tensor([1.0, 1, -1, -1])
    b = torch.tensor([1.0, -1, 1, -1])
    assert float(covariance_penalty(torch.stack([a, b, a * b], dim=1))) == 0
    assert float(covariance_penalty(torch.stack([a, 2 * a], dim=1))) == pytest.approx((8 / 3) ** 2)


@pytest.mark.parametrize("term", [variance_hinge, covariance_penalty])
def test_a_single_row_is_refused(term: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(ConfigError, match="1 feature vector has no variance; .* need a batch of two or more"):
        term(torch.ones(1, 4))


def epps_pulley(x: list[float]) -> float:
    r"""Return n times the complete integral, in closed form (Baringhaus and Henze, 1988, of width 1 in one dimension).

    The integral of exp(-t^2/2) cos(a t) is sqrt(2 pi) exp(-a^2/2), and so on for each product.
    """
    n = len(x)
    pairs = sum(math.exp(-((a - b) ** 2) / 2) for a in x for b in x) / n
    crossed = 2 * sum(math.exp(-(a**2) / 4) for a in x) / math.sqrt(2)
    return math.sqrt(2 * math.pi) * (pairs - crossed + n / math.sqrt(3))


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (0.1, 0.0), (2.0, 1.5)])
def test_sigreg_is_the_closed_form_of_epps_and_pulley(scale: float, shift: float) -> None:
    features = scale * sample(11, 3, 2) + shift
    directions = random_directions(3, 5, torch.Generator().manual_seed(0)).double()
    expected = [epps_pulley(column) for column in (features @ directions).T.tolist()]
    found = sigreg(features, directions, knots=201, limit=10.0)
    assert float(found) == pytest.approx(sum(expected) / 5, rel=1e-9)


def test_sigreg_has_17_knots_from_0_to_3() -> None:
    """The rule by loops; it misses the closed form by the tails beyond 3 alone."""
    features = 1.7 * sample(9, 2, 3) - 0.4
    total = 0.0
    for column in features.T.tolist():
        for k in range(17):
            t = 3 * k / 16
            gaussian = math.exp(-(t**2) / 2)
            cosine = sum(math.cos(t * x) for x in column) / 9
            sine = sum(math.sin(t * x) for x in column) / 9
            width = (1 if k in (0, 16) else 2) * 3 / 16
            total += 9 * width * gaussian * ((cosine - gaussian) ** 2 + sine**2)
    found = float(sigreg(features, torch.eye(2, dtype=torch.float64)))
    assert found == pytest.approx(total / 2, rel=1e-12)
    # Beyond 3 the squared difference is at most (1 + exp(-4.5))^2, and the weight integrates to 0.0068.
    closed = sum(epps_pulley(column) for column in features.T.tolist()) / 2
    assert abs(found - closed) < 9 * 0.0068 * 1.023


@pytest.mark.parametrize("rows", [2, 30, 400])
def test_sigreg_of_a_normal_sample_has_its_expectation(rows: int) -> None:
    """The variance of cos(tX) and sin(tX) together is 1 - exp(-t^2), whatever the number of rows."""
    t = torch.arange(17) * 3 / 16
    widths = torch.full((17,), 3 / 8)
    widths[[0, 16]] /= 2
    expected = float((widths * (-t.square() / 2).exp() * (1 - (-t.square()).exp())).sum())
    assert expected == pytest.approx(math.sqrt(2 * math.pi) * (1 - 1 / math.sqrt(3)), abs=0.01)
    trials = 4000
    features = sample(rows, trials, rows, torch.float32)
    each = torch.stack([sigreg(part, torch.eye(100)) for part in features.split(100, dim=1)])
    error = float(each.std()) / math.sqrt(len(each))
    assert float(each.mean()) == pytest.approx(expected, abs=4 * error)


def test_sigreg_detects_features_that_are_not_normal() -> None:
    directions = random_directions(8, 64, torch.Generator().manual_seed(1)).double()
    normal = sample(500, 8, 4)
    score = float(sigreg(normal, directions))
    assert score < 2
    collapsed = torch.zeros_like(normal)
    for other in (collapsed, normal + 0.5, 1.5 * normal, normal[:, [0] * 8]):
        assert float(sigreg(other, directions)) > 4 * score


def test_sigreg_is_invariant_to_order_sign_and_rotation() -> None:
    features, directions = mixed(20, 6, 5), random_directions(6, 9, torch.Generator().manual_seed(2)).double()
    score = float(sigreg(features, directions))
    turn = torch.linalg.qr(sample(6, 6, 6)).Q
    assert float(sigreg(features.flip(0), directions)) == pytest.approx(score, rel=1e-12)
    assert float(sigreg(-features, directions)) == pytest.approx(score, rel=1e-12)
    assert float(sigreg(features @ turn, turn.T @ directions)) == pytest.approx(score, rel=1e-12)


def test_directions_are_unit_vectors_all_over_the_sphere() -> None:
    before = torch.random.get_rng_state()
    directions = random_directions(3, 20000, torch.Generator().manual_seed(3))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.testing.assert_close(directions.norm(dim=0), torch.ones(20000))
    for axis in directions:  # on a sphere in three dimensions each coordinate is uniform in [-1, 1]
        at = axis.sort().values
        gap = (at - torch.linspace(-1, 1, 20000)).abs().max()
        assert float(gap) < 2 * 1.95 / math.sqrt(20000)  # Kolmogorov-Smirnov, one in a thousand


TERMS: dict[str, Callable[[Tensor], Tensor]] = {
    "variance": partial(variance_hinge, gamma=1.3),
    "covariance": covariance_penalty,
    "sigreg": partial(
        sigreg, directions=random_directions(4, 6, torch.Generator().manual_seed(4)).double(), knots=9
    ),
}


@pytest.mark.parametrize("name", TERMS)
def test_gradients_are_finite_differences(name: str) -> None:
    features = mixed(5, 4, 7).requires_grad_()
    assert torch.autograd.gradcheck(TERMS[name], (features,), eps=1e-6, atol=1e-8, rtol=1e-6)


def test_minimising_sigreg_makes_features_normal() -> None:
    """From a far, narrow, one-sided cloud to mean 0, deviation 1 along directions that were not trained on."""
    generator = torch.Generator().manual_seed(5)
    features = (0.2 * torch.rand(256, 3, generator=generator) + 1).requires_grad_()
    optimizer = torch.optim.Adam([features], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        sigreg(features, random_directions(3, 32, generator)).backward()
        optimizer.step()
    seen = features.detach() @ random_directions(3, 200, generator)
    assert float(seen.mean(dim=0).abs().max()) < 0.15
    assert float((seen.std(dim=0) - 1).abs().max()) < 0.15
    assert float(covariance_penalty(features.detach())) < 0.02


@pytest.mark.parametrize("name", TERMS)
def test_half_precision_is_summed_in_float32(name: str) -> None:
    features = mixed(64, 4, 8).bfloat16()
    exact = TERMS[name](features.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TERMS[name](features)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(exact), rel=1e-4)
