from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from planners import CEM, GoalL1, RecedingHorizon
from tests.evaluation.pose_world import REACH, PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.recovered_actions import (
    action_errors,
    recover_actions,
    recovered_metrics,
)
from vjepa_world.planning.action_axes import action_space, rotation_angle


def planner(model: PoseModel, iterations: int = 12) -> RecedingHorizon:
    cem = CEM(
        model,
        energy=GoalL1(),
        num_samples=128,
        num_iterations=iterations,
        num_elites=10,
        momentum_std=0.1,
    )
    return RecedingHorizon(cem)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_an_exact_model_recovers_the_true_action() -> None:
    model, windows = PoseModel(), pose_windows(count=16, horizon=1)
    found = recover_actions(model, planner(model), windows, generator=generator())
    values = recovered_metrics(found, windows.episodes.numpy(), np.random.default_rng(0))
    assert values["planner"]["position_cm"]["median"] < 0.1
    assert values["planner"]["position_cm"]["percentiles"]["90"] < 0.2
    assert values["planner"]["rotation_deg"]["median"] < 0.2
    assert values["hold"]["position_cm"]["median"] > 2
    assert values["random_action"]["position_cm"]["median"] > 2


def test_a_model_that_ignores_actions_recovers_none() -> None:
    model, windows = PoseModel(gain=0.0), pose_windows(count=32, horizon=1)
    found = recover_actions(model, planner(model, 2), windows, generator=generator())
    values = recovered_metrics(found, windows.episodes.numpy(), np.random.default_rng(0))
    assert values["planner"]["position_cm"]["median"] > values["hold"]["position_cm"]["interval"][0]


def test_no_plan_depends_on_its_batch() -> None:
    model, windows = PoseModel(), pose_windows(count=6, horizon=1)
    plans = [
        recover_actions(model, planner(model, 2), windows, generator=generator(), batch=batch).planned
        for batch in (1, 4)
    ]
    torch.testing.assert_close(plans[0], plans[1])


def test_random_actions_are_within_the_bounds_and_do_not_repeat() -> None:
    model, windows = PoseModel(), pose_windows(count=16, horizon=1)
    found = recover_actions(model, planner(model, 1), windows, generator=generator())
    assert (found.random.abs() <= REACH).all()
    assert len(found.random.unique(dim=0)) == 16


def test_errors_by_hand() -> None:
    true, guessed = torch.zeros(1, 7), torch.zeros(1, 7)
    guessed[0] = torch.tensor([0.03, -0.04, 0.0, 0.0, 0.0, math.radians(10), 0.25])
    errors = action_errors(true, guessed)
    assert errors["position_cm"].item() == pytest.approx(5)
    assert errors["rotation_deg"].item() == pytest.approx(10)
    assert errors["gripper"].item() == pytest.approx(0.25)
    assert action_errors(torch.zeros(1, 2), torch.tensor([[3.0, 4.0]]))["distance"].tolist() == [5.0]


@pytest.mark.parametrize("angle_deg", [0.0, 1e-3, 90.0, 179.9])
def test_the_angle_between_rotations(angle_deg: float) -> None:
    first = torch.tensor([0.0, 0.0, 0.7], dtype=torch.float64)
    second = first + torch.tensor([0.0, 0.0, math.radians(angle_deg)], dtype=torch.float64)
    assert math.degrees(rotation_angle(first, second)) == pytest.approx(angle_deg, abs=1e-8)


def test_axes_have_names_and_units() -> None:
    assert [axis.label for axis in action_space(7).axes][::3] == ["x [cm]", "roll [deg]", "gripper"]
    assert [axis.label for axis in action_space(2).axes] == ["action 0", "action 1"]
