"""Ridge regression against the least squares problem, and probes on problems with known answers."""

from __future__ import annotations

import pytest
import torch

from vjepa_world.ops.ridge import linear_classifier, linear_probe, ridge


@pytest.mark.parametrize(("samples", "width"), [(40, 7), (12, 30)])
def test_ridge_solves_the_least_squares_problem_with_the_penalty_as_rows(samples: int, width: int) -> None:
    """Minimising |XW - Y|^2 + l |W|^2 is least squares with sqrt(l) I below X and zeros below Y."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    y = torch.randn(samples, 3, generator=generator, dtype=torch.float64)
    penalty = 0.3 * x.square().sum() / width
    rows = torch.cat([x, penalty.sqrt() * torch.eye(width, dtype=torch.float64)])
    zeros = torch.zeros(width, 3, dtype=torch.float64)
    expected = torch.linalg.lstsq(rows, torch.cat([y, zeros])).solution
    torch.testing.assert_close(ridge(x, y, 0.3), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("width", [4, 50])
def test_constant_features_predict_the_mean(width: int) -> None:
    targets = torch.arange(20.0).unsqueeze(1)
    result = linear_probe((torch.ones(20, width), targets), (torch.ones(5, width), torch.full((5, 1), 9.5)))
    assert result.mean == 0.0


def test_a_line_is_found_and_its_noise_is_the_error() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(600, 5, generator=generator)
    y = x @ torch.randn(5, 2, generator=generator) + 3.0
    exact = linear_probe((x[:400], y[:400]), (x[400:], y[400:]))
    assert exact.mean < 1e-2 and exact.median < 1e-2
    noisy = y + torch.randn(600, 2, generator=generator)
    # The norm of two standard normal numbers has the mean sqrt(pi / 2).
    assert linear_probe((x[:400], noisy[:400]), (x[400:], noisy[400:])).mean == pytest.approx(
        1.2533, rel=0.08
    )


def test_separable_classes_are_predicted_and_mixed_ones_are_not() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.randint(3, (300,), generator=generator)
    centres = 10 * torch.randn(3, 6, generator=generator)
    x = centres[classes] + torch.randn(300, 6, generator=generator)
    separable = linear_classifier((x[:200], classes[:200]), (x[200:], classes[200:]))
    assert separable.mean == 0.0
    mixed = classes[torch.randperm(300, generator=generator)]
    missed = linear_classifier((x[:200], mixed[:200]), (x[200:], mixed[200:]))
    assert missed.mean == pytest.approx(2 / 3, abs=0.15)
    assert set(missed.errors.tolist()) == {0.0, 1.0}
