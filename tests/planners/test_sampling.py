from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import PlannerError, make_generators
from planners.bounds import make_box, with_prefix
from planners.sampling import (
    Gaussian,
    check_any_finite,
    coloured_noise,
    elites_of,
    fit_gaussian,
    mask_of,
    sample_gaussian,
    sample_uniform,
    white_noise,
)
from tests.planners.worlds import PointWorld


def series(exponent: float, steps: int, count: int = 4000) -> Tensor:
    """Return many sequences of noise, `[S, K]`."""
    return coloured_noise(torch.zeros(1, steps, 1), count, make_generators([0]), exponent)[0, :, :, 0]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("steps", [2, 3, 8, 33])
def test_coloured_noise_has_mean_zero_and_variance_one_at_every_step(exponent: float, steps: int) -> None:
    drawn = series(exponent, steps)
    assert drawn.shape == (4000, steps)
    assert drawn.mean(dim=0).abs().max() < 0.08
    assert (drawn.var(dim=0) - 1).abs().max() < 0.12


@pytest.mark.parametrize("exponent", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("steps", [32, 45])
def test_the_power_of_coloured_noise_falls_with_its_exponent(exponent: float, steps: int) -> None:
    power = (np.abs(np.fft.rfft(series(exponent, steps).numpy(), axis=1)) ** 2).mean(axis=0)
    frequency = np.fft.rfftfreq(steps)
    slope, _ = np.polyfit(np.log(frequency[1:]), np.log(power[1:]), 1)
    assert slope == pytest.approx(-exponent, abs=0.05)
    assert power[0] == pytest.approx(power[1], rel=0.15)  # the constant part as the lowest frequency


def test_steps_are_independent_without_an_exponent_and_correlated_with_one() -> None:
    for exponent, least, most in ((0.0, -0.05, 0.05), (2.0, 0.6, 1.0)):
        between = np.corrcoef(series(exponent, 10).numpy().T)
        neighbours = np.diag(between, k=1)
        assert least < neighbours.min() <= neighbours.max() < most


def test_axes_and_samples_of_coloured_noise_are_independent() -> None:
    drawn = coloured_noise(torch.zeros(1, 6, 2), 4000, make_generators([0]), 2.0)[0]
    assert abs(np.corrcoef(drawn[:, 3, 0], drawn[:, 3, 1])[0, 1]) < 0.05
    assert abs(np.corrcoef(drawn[:-1, 3, 0], drawn[1:, 3, 0])[0, 1]) < 0.05


@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_each_problem_draws_from_its_own_generator(exponent: float) -> None:
    like = torch.zeros(2, 4, 3, dtype=torch.float64)
    both = coloured_noise(like, 5, make_generators([3, 4]), exponent)
    alone = coloured_noise(like[1:], 5, make_generators([4]), exponent)
    assert both.shape == (2, 5, 4, 3)
    assert both.dtype == torch.float64
    assert torch.equal(both[1], alone[0])
    assert not torch.equal(both[0], both[1])


def test_white_noise_is_the_generators_own() -> None:
    expected = torch.randn(5, 4, 3, generator=torch.Generator().manual_seed(8))
    assert torch.equal(white_noise(torch.zeros(1, 4, 3), 5, make_generators([8]))[0], expected)


def test_samples_around_a_mean_are_clipped_to_the_bounds() -> None:
    world = PointWorld([-1.0], [0.5])
    box = with_prefix(world, make_box(world, 2, None), None, 1)
    gaussian = Gaussian(torch.tensor([[[0.0], [0.4]]]), torch.tensor([[[0.5], [2.0]]]))
    noise = torch.tensor([[[[1.0], [0.025]], [[1.5], [-3.0]]]])
    torch.testing.assert_close(
        sample_gaussian(gaussian, noise, box), torch.tensor([[[[0.5], [0.45]], [[0.5], [-1.0]]]])
    )


def test_uniform_samples_cover_exactly_the_bounds() -> None:
    world = PointWorld([-1.0, 0.2], [3.0, 0.2])
    box = with_prefix(world, make_box(world, 2, {0: (None, 2.5)}), None, 1)
    drawn = sample_uniform(box, 4000, make_generators([0]))[0]
    assert bool((drawn[..., 1] == torch.tensor(0.2)).all() and (drawn[:, 1, 0] == 2.5).all())
    assert -1.0 <= drawn[:, 0, 0].min() < -0.99
    assert 2.99 < drawn[:, 0, 0].max() <= 3.0


def test_elites_are_the_lowest_finite_energies_best_first() -> None:
    energy = torch.tensor([[3.0, 1.0, 2.0, 5.0], [torch.inf, torch.inf, 4.0, torch.inf]])
    elites = elites_of(energy, 3)
    assert elites.tolist() == [[1, 2, 0], [2, -1, -1]]
    expected = [[True, True, True, False], [False, False, True, False]]
    assert mask_of(elites, 4).tolist() == expected
    assert elites_of(energy, 9).shape == (2, 4)


def test_a_gaussian_is_fitted_to_each_problems_elites_alone() -> None:
    samples = torch.randn(2, 6, 3, 2, generator=torch.Generator().manual_seed(0))
    fitted = fit_gaussian(samples, torch.tensor([[4, 0, 1], [5, -1, -1]]))
    some = samples[0, [0, 1, 4]].double().numpy()
    np.testing.assert_allclose(fitted.mean[0].numpy(), some.mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(fitted.std[0].numpy(), some.std(axis=0, ddof=1), rtol=1e-5)
    assert torch.equal(fitted.mean[1], samples[1, 5])
    assert torch.equal(fitted.std[1], torch.zeros(3, 2))


def test_energies_are_usable_if_each_problem_has_one() -> None:
    energy = torch.tensor([[torch.inf, 1.0], [2.0, 3.0]])
    check_any_finite(energy)
    energy[0] = torch.inf
    with pytest.raises(PlannerError, match=r"All 2 samples of problem 0 \(of 2, counted from 0\)"):
        check_any_finite(energy)
