"""Open-loop evaluation of unusual data: the report is written, and says what could not be measured."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from planners import CEM, CategoricalCEM, GoalL2
from planners.protocols import Planner
from tests.evaluation.pose_world import REACH, TOKENS, PoseModel, features, pose_windows
from vjepa_world.evaluation.open_loop.assessment import CANNOT_TELL, assess, remarks_on
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
from vjepa_world.evaluation.open_loop.measurements import Measurements, measure
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.open_loop.worth import ALL
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.models.context import Context
from vjepa_world.planning.action_axes import action_space
from vjepa_world.reports.pages.open_loop import open_loop_page
from vjepa_world.reports.plots.film_strips import OpenLoopSource

CONFIG = OpenLoopConfig(horizon=2, samples=8, points=5, pictures=0)
JOINTS = EmbodimentConfig(
    action_dim=7,
    state_dim=7,
    numbers="joints",
    actions="target",
    state_names=tuple(f"joint {k}" for k in range(7)),
    action_names=tuple(f"joint {k}" for k in range(7)),
    action_units=("rad",) * 7,
)


class TargetModel(PoseModel):
    """Seven joints that reach their targets: as many numbers as a pose, but not a pose."""

    robot = JOINTS
    action_type = "absolute"

    def __init__(self) -> None:
        super().__init__()
        self.action_low, self.action_high = -torch.ones(7), 2 * torch.ones(7)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        return features(actions)


class ChoiceModel(PoseModel):
    """Four choices, each of which moves the pose along an axis; the state is the pose, and the model is exact."""

    robot = EmbodimentConfig(action_dim=4, state_dim=7, numbers="given", actions="choice")
    action_type = "choice"
    moves = torch.eye(7)[:4] * REACH

    def __init__(self) -> None:
        super().__init__()
        self.action_low, self.action_high = torch.zeros(4), torch.ones(4)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        assert bool(((actions == 0) | (actions == 1)).all() and (actions.sum(dim=-1) == 1).all())
        return features(context.states[:, -1, None, None] + (actions @ self.moves).cumsum(dim=2))


def choice_windows(count: int = 24, horizon: int = 2) -> Windows:
    generator = torch.Generator().manual_seed(0)
    actions = torch.eye(4)[torch.randint(4, (count, horizon), generator=generator)]
    start = torch.rand(count, 1, 7, generator=generator)
    states = torch.cat([start, start + (actions @ ChoiceModel.moves).cumsum(dim=1)], dim=1)
    frames = torch.zeros(count, horizon + 1, 3, 32, 32, dtype=torch.uint8)
    space = action_space(4, ChoiceModel.robot)
    return Windows(features(states), states, actions, torch.arange(count) // 4, frames, space=space)


def test_choices_are_compared_with_other_choices_and_have_no_landscapes() -> None:
    """The model refuses whatever is not one choice."""
    model, windows = ChoiceModel(), choice_windows()
    planner = CategoricalCEM(model, energy=GoalL2(), horizon=1, num_samples=32)
    measured, page = page_of(model, windows, planner)
    assert torch.equal(measured.recovered.planned, measured.recovered.true)
    assert bool((measured.recovered.random.sum(dim=1) == 1).all())
    assert not measured.landscapes
    # Ties count half: of 16 sequences of two choices the true one, and the same choices in the other order.
    assert 0 < measured.metrics["worth"]["groups"][ALL]["rank"]["value"] < 0.1
    answers = {found.question: found.answer for found in assess(measured.metrics)}
    assert answers["Does the planner find the true action?"] == "yes"
    assert answers["Does the energy rise with the distance to the true action?"] == "yes"
    assert "actions are choices" in page


def page_of(model: PoseModel, windows: Windows, planner: Planner | None = None) -> tuple[Measurements, str]:
    planner = planner or CEM(model, energy=GoalL2(), num_samples=32, num_iterations=3, num_elites=4)
    measured = measure(model, planner, GoalL2(), windows, CONFIG, seed=0)
    source = OpenLoopSource(WindowEnergy(model, GoalL2()), windows, [], TOKENS, True, None, 0.25)
    return measured, open_loop_page("Open loop", "", measured, source)


@pytest.mark.parametrize("axes", [[1], list(range(7))])
def test_true_actions_outside_of_the_bounds_are_reported(axes: list[int]) -> None:
    windows = pose_windows(count=8, horizon=2)
    windows.actions[..., axes] += 10 * (PoseModel().action_high[axes])
    measured, page = page_of(PoseModel(), windows)
    names = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
    assert measured.metrics["outside_bounds"] == 1.0
    assert measured.metrics["outside_bounds_by_axis"] == {names[axis]: 1.0 for axis in axes}
    assert (
        "100% of the true actions are outside of the model&#x27;s bounds" in page
        or "100% of the true" in page
    )
    assert f"No curve for {', '.join(names[axis] for axis in axes)}" in page


def test_actions_that_never_vary_are_reported() -> None:
    windows = pose_windows(count=8, horizon=2)
    windows.actions[:] = 0
    measured, page = page_of(PoseModel(), windows)
    assert measured.metrics["rank_correlation"]["all_axes"] is None
    assert measured.landscapes == []
    assert "no axis of the true actions varies" in page


def test_bounds_of_zero_width_are_reported() -> None:
    model = PoseModel()
    model.action_low = model.action_high = torch.zeros(7)
    measured, page = page_of(model, pose_windows(count=8, horizon=2))
    assert measured.metrics["rank_correlation"] == {"position": None, "all_axes": None, "by_axis": {}}
    assert "no axis of the true actions varies" in page


def test_a_single_episode_gives_no_answer() -> None:
    windows = replace(pose_windows(count=8, horizon=2), episodes=torch.zeros(8, dtype=torch.long))
    measured, page = page_of(PoseModel(), windows)
    found = assess(measured.metrics)
    assert {assessment.answer for assessment in found} == {CANNOT_TELL}
    assert "All windows are of one episode" in page
    intervals = list(intervals_in(measured.metrics))
    assert len(intervals) > 20 and all(interval in (None, [None, None]) for interval in intervals)
    assert not any(re.search(r"\(-?\+?\d[\d.]* to ", assessment.evidence) for assessment in found)
    several, _ = page_of(PoseModel(), pose_windows(count=8, horizon=2))
    assert all(None not in (interval or [None]) for interval in intervals_in(several.metrics))


def intervals_in(metrics: Any) -> Iterator[list[float | None] | None]:
    """Yield all intervals of metrics."""
    for name, value in metrics.items() if isinstance(metrics, dict) else enumerate(metrics):
        if name in ("interval", "interval_deg"):
            yield value
        elif isinstance(value, dict | list):
            yield from intervals_in(value)


def target_windows() -> Windows:
    generator = torch.Generator().manual_seed(2)
    states = torch.rand(12, 3, 7, generator=generator)
    frames = torch.zeros(12, 3, 3, 32, 32, dtype=torch.uint8)
    space = action_space(7, JOINTS)
    return Windows(features(states), states, states[:, 1:], torch.arange(12) // 4, frames, space=space)


def test_the_no_motion_action_of_targets_is_the_current_state() -> None:
    windows = target_windows()
    measured, page = page_of(TargetModel(), windows)
    hold = measured.metrics["recovered"]["hold"]["distance"]["median"]
    moved = (windows.states[:, 1] - windows.states[:, 0]).norm(dim=1)
    assert hold == pytest.approx(float(moved.double().quantile(0.5)), rel=1e-5)
    assert measured.metrics["camera_rotation"] is None  # seven numbers, but not a pose
    assert measured.metrics["rank_correlation"]["position"] is None
    assert "joint 3 [rad]" in page
    assert "zero action" not in page


def test_without_an_action_type_the_no_motion_baseline_is_left_out_and_reported() -> None:
    unknown = replace(JOINTS, actions="given")
    windows = replace(target_windows(), space=action_space(7, unknown))
    model = TargetModel()
    model.robot = unknown
    measured, page = page_of(model, windows)
    assert "hold" not in measured.metrics["recovered"]
    assert "does not say what an action is" in measured.metrics["left_out"]["hold"]
    assert any(remark.startswith("Baseline 'hold' is left out") for remark in remarks_on(measured.metrics))
    assert "left out" in page


def rotation_answer(low: float, high: float, **changes: Any) -> str:
    rotation = {
        "angle_deg": (low + high) / 2,
        "interval_deg": [low, high],
        "rms_before_m": 0.1,
        "rms_after_m": 0.01,
    }
    measured, _ = ROTATED
    [*_, last] = assess({**measured.metrics, "camera_rotation": rotation | changes})
    assert last.question == "Are planned and true directions the same?"
    return last.answer


ROTATED = page_of(PoseModel(), pose_windows(count=8, horizon=2))


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (-4.0, 6.0, "yes"),
        (1.0, 6.0, "yes"),  # not zero, and no more than a few degrees
        (-37.0, 156.0, CANNOT_TELL),
        (-20.0, 3.0, CANNOT_TELL),
        (30.0, 48.0, "no"),
        (-170.0, 200.0, CANNOT_TELL),
        (5.0, 300.0, CANNOT_TELL),
    ],
)
def test_directions_agree_only_if_the_complete_interval_does(low: float, high: float, answer: str) -> None:
    assert rotation_answer(low, high) == answer


def test_a_rotation_that_helps_little_gives_no_answer() -> None:
    assert rotation_answer(30.0, 48.0, rms_after_m=0.099) == CANNOT_TELL
