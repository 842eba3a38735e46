"""Checks of options: a value that is not allowed raises an error that states what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from planners import CEM, ICEM, MPPI, GoalL1, GradientDescent, PlannerError
from tests.planners.worlds import PointWorld

WORLD = PointWorld([-1.0, -1.0], [1.0, 1.0])


@pytest.mark.parametrize(
    ("kind", "name", "allowed"),
    [
        (CEM, "momentum_mean", "a number in [0, 1], or one for each action axis"),
        (ICEM, "reused_elites", "a number in [0, 1]"),
        (CEM, "initial_std", "a finite number above 0"),
        (GradientDescent, "lr", "a finite number above 0"),
        (MPPI, "temperature", "a finite number above 0"),
        (MPPI, "std_decay", "a number above 0 and at most 1"),
        (ICEM, "noise_exponent", "a finite number of at least 0"),
        (ICEM, "num_samples", "a whole number of at least 1"),
        (CEM, "answer", "'best', 'mean'"),
    ],
)
@pytest.mark.parametrize(
    "got", ["0.5", "ab", True, None, np.array(["a", "b"]), torch.tensor([0.5, torch.nan])]
)
def test_values_that_are_not_allowed_are_refused(
    kind: Callable[..., Any], name: str, allowed: str, got: Any
) -> None:
    with pytest.raises(PlannerError) as error:
        kind(WORLD, energy=GoalL1(), **{name: got})
    assert f"{name} is {got!r}; allowed" in str(error.value)
    assert allowed in str(error.value)
    assert "Ch" in str(error.value)  # change it, or choose another


@pytest.mark.parametrize(
    "got",
    [[0.25, 0.5], torch.tensor([0.25, 0.5]), np.array([0.25, 0.5]), (np.float32(0.25), torch.tensor(0.5))],
)
def test_fractions_may_be_lists_tensors_and_arrays(got: Any) -> None:
    assert CEM(WORLD, energy=GoalL1(), momentum_std=got).momentum_std == (0.25, 0.5)


@pytest.mark.parametrize("got", [0.25, np.float32(0.25), torch.tensor(0.25), np.array(0.25)])
def test_one_fraction_is_for_all_axes(got: Any) -> None:
    assert CEM(WORLD, energy=GoalL1(), momentum_std=got).momentum_std == (0.25, 0.25)
