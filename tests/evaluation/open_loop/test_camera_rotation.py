from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from planners import CEM, GoalL1
from tests.evaluation.pose_world import PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.camera_rotation import fit_rotation
from vjepa_world.evaluation.open_loop.recovered_actions import action_errors, recover_actions
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.ops.pose import euler_to_matrix
from vjepa_world.planning.rotated_planner import PlanningError, RotatedPlanner, rotate_xy

EPISODES = np.arange(200) // 4


def motions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.05, 0.05, (200, 3))


def about_z(angle_deg: float) -> np.ndarray:
    return euler_to_matrix(torch.tensor([0.0, 0.0, math.radians(angle_deg)], dtype=torch.float64)).numpy()


@pytest.mark.parametrize("angle_deg", [-120.0, -3.0, 0.0, 25.0, 179.0, -179.5])
def test_a_turn_about_z_is_found_with_its_sign(angle_deg: float) -> None:
    planned = motions()
    noise = np.random.default_rng(1).normal(0, 0.004, planned.shape)
    found = fit_rotation(planned, planned @ about_z(angle_deg).T + noise, EPISODES, np.random.default_rng(2))
    assert found.angle_deg == pytest.approx(angle_deg, abs=1.5)
    assert found.interval_deg is not None
    low, high = found.interval_deg
    assert low < found.angle_deg < high < low + 5
    assert low < angle_deg < high
    np.testing.assert_allclose(found.matrix, about_z(found.angle_deg)[:2, :2], atol=1e-12)
    assert found.rms_after_m == pytest.approx(0.004 * math.sqrt(2), rel=0.2)
    assert found.angle_3d_deg is not None
    assert found.angle_3d_deg == pytest.approx(abs(angle_deg), abs=2)


def test_the_remaining_distance_without_noise_is_zero() -> None:
    planned = motions()
    found = fit_rotation(planned, planned @ about_z(40).T, EPISODES, np.random.default_rng(0))
    assert found.rms_after_m < 1e-12
    # A chord: 2 sin(20 degrees) times the length.
    lengths = np.sqrt((planned[:, :2] ** 2).sum(axis=1).mean())
    assert found.rms_before_m == pytest.approx(2 * math.sin(math.radians(20)) * lengths)
    assert found.is_turned
    assert not fit_rotation(planned, planned + motions(3) * 0.2, EPISODES, np.random.default_rng(0)).is_turned


def test_a_rotation_in_space_is_found() -> None:
    turn = euler_to_matrix(torch.tensor([0.3, -0.5, 1.1], dtype=torch.float64)).numpy()
    planned = motions()
    found = fit_rotation(planned, planned @ turn.T, EPISODES, np.random.default_rng(0))
    assert found.matrix_3d is not None
    np.testing.assert_allclose(found.matrix_3d, turn, atol=1e-9)
    assert found.angle_3d_deg == pytest.approx(math.degrees(math.acos((np.trace(turn) - 1) / 2)))


def test_motions_in_a_plane_give_a_rotation_not_a_reflection() -> None:
    planned = motions() * [1, 1, 0]
    found = fit_rotation(planned, planned @ about_z(30).T, EPISODES, np.random.default_rng(0))
    assert found.matrix_3d is not None
    np.testing.assert_allclose(found.matrix_3d, about_z(30), atol=1e-9)


def test_motions_along_a_line_do_not_determine_a_3d_rotation() -> None:
    planned = motions()[:, :1] * [1.0, 0.0, 0.0]
    found = fit_rotation(planned, planned @ about_z(30).T, EPISODES, np.random.default_rng(0))
    assert found.angle_deg == pytest.approx(30)
    assert found.angle_3d_deg is None
    assert found.as_json()["in_space"] == {"angle_deg": None, "interval_deg": None, "matrix": None}


def test_without_motion_there_is_nothing_to_fit() -> None:
    with pytest.raises(EvaluationError, match="take episodes that move"):
        fit_rotation(motions(), np.zeros((200, 3)), EPISODES, np.random.default_rng(0))


def test_xy_are_turned_counter_clockwise() -> None:
    action = torch.tensor([1.0, 0.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    torch.testing.assert_close(rotate_xy(action, 90.0), torch.tensor([0.0, 1.0, 3.0, 4.0, 5.0, 6.0, 7.0]))


def cem(model: PoseModel) -> CEM:
    return CEM(model, energy=GoalL1(), num_samples=128, num_iterations=8, num_elites=10, momentum_std=0.1)


def test_a_turned_world_is_found_and_corrected() -> None:
    """The model rotates actions by 30 degrees, so its plans are rotated by -30 degrees."""
    windows, model = pose_windows(count=32, horizon=1, share=0.6), PoseModel(turn_deg=30.0)
    generator = torch.Generator().manual_seed(0)
    found = recover_actions(model, cem(model), windows, generator=generator)
    rotation = fit_rotation(
        found.planned[:, :3].numpy(),
        found.true[:, :3].numpy(),
        windows.episodes.numpy(),
        np.random.default_rng(0),
    )
    assert rotation.angle_deg == pytest.approx(30, abs=2)
    planner = RotatedPlanner(cem(model), rotation.angle_deg, model)
    generator = torch.Generator().manual_seed(0)
    corrected = recover_actions(model, planner, windows, generator=generator)
    before = action_errors(found.true, found.planned)["position_cm"].median()
    after = action_errors(corrected.true, corrected.planned)["position_cm"].median()
    assert before > 1.0
    assert after < 0.3


def test_corrected_actions_stay_in_the_bounds() -> None:
    model = PoseModel(turn_deg=45.0)
    windows = pose_windows(count=16, horizon=1, share=1.0)
    planner = RotatedPlanner(cem(model), 45.0, model)
    planned = recover_actions(model, planner, windows, generator=torch.Generator().manual_seed(0)).planned
    assert (planned >= model.action_low).all()
    assert (planned <= model.action_high).all()


def test_a_correction_needs_poses() -> None:
    model = PoseModel()
    planner = cem(model)
    model.action_low = model.action_low[:2]
    with pytest.raises(PlanningError, match=r"camera_rotation_deg is 5, and the model's actions have 2"):
        RotatedPlanner(planner, 5.0, model)
