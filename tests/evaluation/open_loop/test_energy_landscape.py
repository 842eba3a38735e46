from __future__ import annotations

import numpy as np
import pytest
import torch

from planners import GoalL1
from tests.evaluation.pose_world import REACH, PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.energy_landscape import (
    AxisLandscape,
    WindowEnergy,
    axis_landscapes,
    plane_landscape,
    rank_correlations,
)
from vjepa_world.evaluation.rank_correlation import spearman
from vjepa_world.evaluation.statistics import EvaluationError

EXACT = WindowEnergy(PoseModel(), GoalL1())


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_spearman_by_hand() -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert spearman(x, x.exp()) == 1
    assert spearman(x, -x) == -1
    # 1 - 6 * sum(d^2) / (n (n^2 - 1)) with d = 0, 1, -1, 0
    torch.testing.assert_close(spearman(x, torch.tensor([1.0, 3.0, 2.0, 4.0])).item(), 0.8)


def test_ties_share_their_mean_rank() -> None:
    x, y = torch.tensor([1.0, 2.0, 2.0, 3.0]), torch.tensor([10.0, 20.0, 30.0, 40.0])
    expected = np.corrcoef([1, 2.5, 2.5, 4], [1, 2, 3, 4])[0, 1]
    assert spearman(x, y).item() == pytest.approx(expected)


def test_the_rank_correlation_with_a_constant_is_zero() -> None:
    assert spearman(torch.ones(2, 5), torch.arange(5.0).expand(2, 5)).tolist() == [0, 0]


def test_an_exact_model_ranks_actions_by_their_distance() -> None:
    found = rank_correlations(EXACT, pose_windows(), samples=64, generator=generator())
    assert found.position is not None
    assert found.all_axes is not None
    assert found.position.min() > 0.995
    assert found.all_axes.min() > 0.99


def test_a_model_that_ignores_actions_has_no_rank_correlation() -> None:
    windows = pose_windows()
    blind = WindowEnergy(PoseModel(gain=0.0), GoalL1())
    found = rank_correlations(blind, windows, samples=64, generator=generator())
    assert found.position is not None
    assert found.all_axes is not None
    assert found.position.abs().max() == 0
    assert found.all_axes.abs().max() == 0


def test_a_model_with_reversed_actions_is_detected() -> None:
    windows = pose_windows()
    found = rank_correlations(
        WindowEnergy(PoseModel(gain=-1.0), GoalL1()), windows, samples=64, generator=generator()
    )
    assert found.position is not None
    assert found.all_axes is not None
    assert found.position.mean() < 0


def test_the_energy_minimum_along_each_axis_is_at_the_true_action() -> None:
    windows = pose_windows()
    found = axis_landscapes(EXACT, windows, points=17)
    assert [landscape.axis for landscape in found] == list(range(7))
    for landscape in found:
        step = 2 * REACH[landscape.axis] / 16
        assert (landscape.valley_offset().abs() <= step / 2 + 1e-6).all()
        assert landscape.rank_correlation().min() > 0.995
        assert landscape.at_truth.max() < 1e-6
        torch.testing.assert_close(landscape.true, windows.actions[:, 0, landscape.axis])


def test_a_bias_of_the_model_shifts_its_energy_minimum() -> None:
    """With half the effect the best action is twice the true one, where the bounds allow it."""
    windows = pose_windows(share=0.4)
    found = axis_landscapes(WindowEnergy(PoseModel(gain=0.5), GoalL1()), windows, points=41)[0]
    expected = windows.actions[:, 0, 0]
    assert (found.valley_offset() - expected).abs().max() <= 2 * REACH[0] / 40


def test_an_axis_that_never_moves_stays_at_its_true_value() -> None:
    windows = pose_windows()
    windows.actions[..., 3:6] = 0
    assert [found.axis for found in axis_landscapes(EXACT, windows, points=5)] == [0, 1, 2, 6]
    windows.actions[:] = 0
    assert axis_landscapes(EXACT, windows, points=5) == []
    found = rank_correlations(EXACT, windows, samples=5, generator=generator())
    assert found.all_axes is None


def test_the_mean_curve_is_centred_on_the_truth() -> None:
    grid = torch.linspace(-1, 1, 21)
    true = torch.tensor([0.0, 0.6])
    found = AxisLandscape(0, grid, (grid - true[:, None]).abs(), true, torch.zeros(2))
    offsets, energies = found.around_truth(11)
    torch.testing.assert_close(offsets, torch.linspace(-1, 1, 11))
    torch.testing.assert_close(energies[0], offsets.abs())
    inside = true[1] + offsets <= 1
    torch.testing.assert_close(energies[1][inside], offsets[inside].abs())
    assert energies[1][~inside].isnan().all()
    assert (~inside).sum() == 3


def test_rows_of_a_plane_are_its_second_axis() -> None:
    windows = pose_windows()
    across, up, energies = plane_landscape(EXACT, windows, 3, (0, 2), points=9)
    action = windows.actions[3, 0].clone()
    action[0], action[2] = across[7], up[2]
    expected = EXACT(windows, torch.tensor([3]), action[None, None])
    torch.testing.assert_close(energies[2, 7], expected[0, 0])
    row, column = divmod(int(energies.argmin()), 9)
    assert abs(across[column] - windows.actions[3, 0, 0]) <= REACH[0] / 8 + 1e-6
    assert abs(up[row] - windows.actions[3, 0, 2]) <= REACH[2] / 8 + 1e-6


def test_energies_do_not_depend_on_how_many_are_computed_together() -> None:
    windows = pose_windows()
    drawn = REACH * (2 * torch.rand(len(windows), 13, 7, generator=generator()) - 1)
    few, many = (WindowEnergy(PoseModel(), GoalL1(), batch).of_all(windows, drawn) for batch in (7, 10_000))
    torch.testing.assert_close(few, many)


@pytest.mark.parametrize("samples", [0, 2])
def test_too_few_samples_are_refused(samples: int) -> None:
    with pytest.raises(EvaluationError, match="at least 3"):
        rank_correlations(EXACT, pose_windows(), samples=samples, generator=generator())
    with pytest.raises(EvaluationError, match="at least 3"):
        axis_landscapes(EXACT, pose_windows(), points=samples)
