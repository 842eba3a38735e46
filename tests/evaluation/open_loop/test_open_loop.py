from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.evaluation.pose_world import PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.prediction_error import derangement, horizon_errors, horizon_metrics
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.models.context import Context

RNG = np.random.default_rng


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [2, 3, 7, 64])
def test_a_derangement_has_no_fixed_points(size: int) -> None:
    for seed in range(20):
        permuted = derangement(size, generator(seed))
        assert sorted(permuted.tolist()) == list(range(size))
        assert not (permuted == torch.arange(size)).any()


def test_derangements_depend_only_on_the_seed() -> None:
    assert torch.equal(derangement(64, generator(1)), derangement(64, generator(1)))
    assert not torch.equal(derangement(64, generator(1)), derangement(64, generator(2)))


def test_one_window_cannot_be_deranged() -> None:
    with pytest.raises(EvaluationError, match="give at least 2"):
        derangement(1, generator())


def test_an_exact_model_has_no_error_and_the_controls_have() -> None:
    windows = pose_windows(horizon=5)
    values = horizon_metrics(
        horizon_errors(PoseModel(), windows, generator=generator()), windows.episodes.numpy(), RNG(0)
    )
    assert [line["horizon"] for line in values] == [1, 2, 3, 4, 5]
    for line in values:
        for kind in ("plain", "moving"):
            assert line[kind]["model"]["value"] < 1e-5 * line[kind]["copy_last_frame"]["value"]
            assert line[kind]["ratio_to_copy"]["interval"][1] < 1e-5
            assert line[kind]["ratio_to_shuffled"]["interval"][1] < 1e-5


def test_shuffled_actions_do_not_change_the_error_of_a_model_that_ignores_them() -> None:
    windows = pose_windows()
    errors = horizon_errors(PoseModel(gain=0.0), windows, generator=generator())
    for curves in (errors.plain, errors.moving):
        np.testing.assert_array_equal(curves.model, curves.shuffled)
        np.testing.assert_allclose(curves.model, curves.copy, rtol=1e-6)
    line = horizon_metrics(errors, windows.episodes.numpy(), RNG(0))[0]
    assert line["plain"]["ratio_to_shuffled"] == {"value": 1.0, "interval": [1.0, 1.0]}


def test_shuffled_actions_increase_the_error_of_a_model_that_uses_them() -> None:
    """Two independent actions differ by sqrt(2) times what one moves, on average and roughly."""
    windows = pose_windows(count=200)
    errors = horizon_errors(PoseModel(), windows, generator=generator())
    ratio = errors.plain.shuffled[:, 0].mean() / errors.plain.copy[:, 0].mean()
    assert 1.3 < ratio < 1.5


def test_errors_by_hand() -> None:
    """Two tokens of one number: the model sees 0 throughout, the first token moves by 1 and 3, the second stays."""

    class Still:
        action_low, action_high = -torch.ones(1), torch.ones(1)

        def rollout(self, context: Context, actions: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*actions.shape[:3], 2, 1)

        def rollout_sequences(self, context: Context, actions: torch.Tensor) -> torch.Tensor:
            return torch.zeros(*actions.shape[:2], 2, 1)

    seen = torch.tensor([[5.0, 5.0], [6.0, 5.0], [8.0, 5.0]])[None, :, :, None].repeat(2, 1, 1, 1)
    windows = Windows(
        seen,
        torch.zeros(2, 3, 1),
        torch.ones(2, 2, 1),
        torch.tensor([0, 1]),
        torch.zeros(2, 3, 3, 8, 8, dtype=torch.uint8),
    )
    errors = horizon_errors(Still(), windows, generator=generator(), motion_share=1.0)
    np.testing.assert_allclose(errors.plain.model, [[5.5, 6.5]] * 2)
    np.testing.assert_allclose(errors.plain.copy, [[0.5, 1.5]] * 2)
    # All weight, 2, is on the token that moves.
    np.testing.assert_allclose(errors.moving.model, [[6.0, 8.0]] * 2)
    np.testing.assert_allclose(errors.moving.copy, [[1.0, 3.0]] * 2)


def test_predictions_are_fed_back() -> None:
    """A model with 0.9 of each motion: its error adds up over the steps."""
    windows = pose_windows(horizon=3)
    errors = horizon_errors(PoseModel(gain=0.9), windows, generator=generator())
    np.testing.assert_allclose(errors.plain.model, 0.1 * errors.plain.copy, rtol=1e-3)


def test_neither_batch_nor_order_of_batches_changes_an_error() -> None:
    windows = pose_windows()
    together = horizon_errors(PoseModel(gain=0.5), windows, generator=generator(), batch=24)
    apart = horizon_errors(PoseModel(gain=0.5), windows, generator=generator(), batch=5)
    np.testing.assert_allclose(together.moving.shuffled, apart.moving.shuffled, rtol=1e-5)
    ticks: list[int] = []
    horizon_errors(PoseModel(), windows, generator=generator(), batch=10, progress=ticks.append)
    assert ticks == [10, 10, 4, 10, 10, 4]


def test_windows_without_motion_have_no_error_ratio() -> None:
    windows = pose_windows(share=0.0)
    line = horizon_metrics(
        horizon_errors(PoseModel(), windows, generator=generator()), windows.episodes.numpy(), RNG(0)
    )[0]
    assert line["plain"]["copy_last_frame"]["value"] == 0
    assert line["plain"]["ratio_to_copy"] == {"value": None, "interval": [None, None]}


def test_windows_of_the_wrong_shape_are_refused_with_the_expected_one() -> None:
    windows = pose_windows()
    with pytest.raises(EvaluationError, match=r"\[W, T-1, A\]"):
        Windows(
            windows.features,
            windows.states,
            windows.actions[:, :-1],
            windows.episodes,
            windows.frames,
        )
    with pytest.raises(EvaluationError, match="at least 2 windows"):
        pose_windows(count=1)


def test_extrinsics_reach_the_model() -> None:
    windows = pose_windows(count=2)
    camera = torch.arange(2 * 5 * 6.0).view(2, 5, 6)
    seen = Windows(
        windows.features, windows.states, windows.actions, windows.episodes, windows.frames, camera
    )
    context = seen.context(torch.tensor([1]), torch.device("cpu"))
    assert context.extrinsics is not None
    assert torch.equal(context.extrinsics, camera[1:, :1])
    assert torch.equal(context.features, windows.features[1:, :1])
