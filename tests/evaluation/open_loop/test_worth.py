"""Whether a model is worth planning with: random action sequences, groups by what moves, and the answer."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from planners import GoalL1
from tests.evaluation.pose_world import PoseModel, pose_windows
from vjepa_world.evaluation.open_loop.assessment import assess
from vjepa_world.evaluation.open_loop.config import OpenLoopConfig
from vjepa_world.evaluation.open_loop.energy_landscape import WindowEnergy
from vjepa_world.evaluation.open_loop.measurements import measure
from vjepa_world.evaluation.open_loop.prediction_error import horizon_errors
from vjepa_world.evaluation.open_loop.random_plans import random_plans, variation_of, what_moves
from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.evaluation.open_loop.worth import ALL, worth_metrics


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def plans_of(model: PoseModel, windows: Windows, batch: int = 512) -> Any:
    found = random_plans(
        WindowEnergy(model, GoalL1(), batch), windows, steps=3, samples=40, generator=generator()
    )
    assert found is not None
    return found


def worth_of(model: PoseModel, windows: Windows) -> dict[str, Any]:
    errors = horizon_errors(model, windows, generator=generator())
    return worth_metrics(plans_of(model, windows), errors, windows, np.random.default_rng(0))


def answers(worth: dict[str, Any], model: PoseModel, windows: Windows) -> dict[str, str]:
    from planners import RandomShooting

    config = OpenLoopConfig(horizon=4, samples=5, points=3, sequence=3)
    planner = RandomShooting(model, energy=GoalL1(), num_samples=4)
    metrics = measure(model, planner, GoalL1(), windows, config, seed=0).metrics
    return {found.question: found.answer for found in assess({**metrics, "worth": worth})}


def test_the_variation_of_known_energies() -> None:
    energies = torch.tensor([[1.0, 3.0], [2.0, 2.0], [-1.0, -3.0], [0.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(
        variation_of(energies), torch.tensor([0.5, 0.0, 0.5, 0.0], dtype=torch.float64)
    )


def test_an_exact_model_ranks_the_true_sequence_first() -> None:
    found = plans_of(PoseModel(), pose_windows())
    assert found.steps == 3
    assert found.rank.max() == 0
    assert found.variation.min() > 0.05
    # A squared distance varies about twice as much as a distance.
    assert (found.squared_variation > 1.5 * found.variation).all()


def test_a_model_that_ignores_actions_tells_none_apart() -> None:
    found = plans_of(PoseModel(gain=0.0), pose_windows())
    assert found.rank.tolist() == [0.5] * 24
    assert found.variation.abs().max() < 1e-6


def test_a_model_with_reversed_actions_ranks_the_true_sequence_late() -> None:
    assert plans_of(PoseModel(gain=-1.0), pose_windows(64)).rank.mean() > 0.6


def test_the_energies_do_not_depend_on_the_batch() -> None:
    windows = pose_windows(8)
    one, two = (plans_of(PoseModel(), windows, batch) for batch in (7, 1000))
    assert torch.equal(one.rank, two.rank)
    torch.testing.assert_close(one.variation, two.variation, rtol=1e-4, atol=1e-6)


def labels(**flags: list[list[int]]) -> dict[str, Tensor]:
    return {name: torch.tensor(rows).bool() for name, rows in flags.items()}


def test_windows_are_grouped_by_what_moves_in_their_first_frames() -> None:
    found = what_moves(
        labels(
            contact=[[0, 0, 0], [0, 1, 0], [1, 1, 1], [1, 1, 1], [0, 0, 1]],
            object_moving=[[0, 0, 0], [0, 0, 0], [0, 1, 1], [1, 1, 1], [0, 0, 1]],
            object_lifted=[[0, 0, 0], [0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]],
        ),
        steps=1,
    )
    assert {name: chosen.nonzero().flatten().tolist() for name, chosen in found.items()} == {
        "object lifted": [3],
        "object moves": [2],
        "object touched, at rest": [1],
        "arm alone": [0, 4],
    }
    assert what_moves({}, steps=1) == {}


def with_contact(windows: Windows) -> Windows:
    """Say that the first half of the windows is in contact."""
    touched = torch.arange(len(windows)).lt(len(windows) // 2).unsqueeze(1).expand(-1, windows.horizon + 1)
    return dataclasses.replace(windows, labels={"contact": touched})


def test_the_groups_split_the_windows() -> None:
    windows = with_contact(pose_windows())
    groups = worth_of(PoseModel(), windows)["groups"]
    assert {name: (group["windows"], group["episodes"]) for name, group in groups.items()} == {
        ALL: (24, 6),
        "object touched, at rest": (12, 3),
        "arm alone": (12, 3),
    }
    halves = [groups[name]["variation"]["value"] for name in ("object touched, at rest", "arm alone")]
    assert groups[ALL]["variation"]["value"] == pytest.approx(sum(halves) / 2)
    assert len(groups[ALL]["ratio_to_copy"]) == 4


def test_an_exact_model_is_worth_planning_with_and_a_blind_one_is_not() -> None:
    windows = with_contact(pose_windows())
    question = "Is this model worth planning with?"
    exact = answers(worth_of(PoseModel(), windows), PoseModel(), windows)
    assert exact[question] == "yes"
    assert exact["Is this model worth planning with, arm alone?"] == "yes"
    blind = PoseModel(gain=0.0)
    found = answers(worth_of(blind, windows), blind, windows)
    assert found[question] == "no"
    assert found["Is this model worth planning with, arm alone?"] == "no"


def estimate(value: float, low: float, high: float) -> dict[str, Any]:
    return {"value": value, "interval": [low, high]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, "yes"),
        ({"squared_variation": estimate(0.35, 0.29, 0.40)}, "cannot tell"),
        ({"squared_variation": estimate(0.20, 0.15, 0.29)}, "no"),
        ({"rank": estimate(0.24, 0.20, 0.26)}, "cannot tell"),
        ({"rank": estimate(0.30, 0.26, 0.35)}, "no"),
        ({"ratio_to_copy": [estimate(0.9, 0.8, 1.1)] * 3}, "cannot tell"),
        ({"ratio_to_copy": [estimate(1.1, 1.01, 1.2)] * 3}, "no"),
        ({"ratio_to_copy": [estimate(1.1, 1.01, 1.2)] * 3, "rank": estimate(0.2, 0.1, 0.3)}, "no"),
        ({"rank": None, "squared_variation": None}, "cannot tell"),
        ({"episodes": 1}, "cannot tell"),
    ],
)
def test_the_answer_follows_from_the_intervals(changes: dict[str, Any], expected: str) -> None:
    windows = pose_windows()
    worth = worth_of(PoseModel(), windows)
    worth["groups"][ALL] |= {
        "squared_variation": estimate(0.4, 0.31, 0.5),
        "rank": estimate(0.1, 0.05, 0.2),
        "ratio_to_copy": [estimate(0.5, 0.4, 0.6)] * 4,
    } | changes
    assert answers(worth, PoseModel(), windows)["Is this model worth planning with?"] == expected
