from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from planners import PlannerError
from planners.bounds import make_box, read_fixed, with_prefix
from tests.planners.worlds import PointWorld

WORLD = PointWorld([-0.1, -0.2, 0.3], [0.1, 0.4, 0.3])


def test_every_step_has_the_models_bounds_except_where_it_is_fixed() -> None:
    box = make_box(WORLD, 2, {0: 0.05, 1: (None, -0.2)})
    low, high = (
        torch.tensor([[0.05, -0.2, 0.3], [0.05, -0.2, 0.3]]),
        torch.tensor([[0.05, 0.4, 0.3], [0.05, -0.2, 0.3]]),
    )
    assert torch.equal(box.low, low)
    assert torch.equal(box.high, high)
    assert torch.equal(box.half_width > 0, torch.tensor([[False, True, False], [False, False, False]]))
    torch.testing.assert_close(box.centre[0], torch.tensor([0.05, 0.1, 0.3]))


def test_a_value_within_rounding_of_a_bound_is_that_bound() -> None:
    # 0.1 in float32 is not 0.1.
    assert make_box(WORLD, 1, {0: 0.1}).low[0, 0] == WORLD.action_high[0]
    assert make_box(WORLD, 1, {0: 0.1 + 5e-7}).high[0, 0] == WORLD.action_high[0]


@pytest.mark.parametrize(
    "values",
    [
        (0.25, -0.125),
        [0.25, torch.tensor(-0.125)],
        torch.tensor([0.25, -0.125]),
        np.array([0.25, -0.125]),
    ],
)
def test_values_may_be_tensors_and_arrays(values: Any) -> None:
    box = make_box(WORLD, 2, {np.int64(1): values})  # type: ignore[dict-item]
    assert box.low[:, 1].tolist() == box.high[:, 1].tolist() == [0.25, -0.125]
    for value in (torch.tensor(0.25), np.float64(0.25), np.array(0.25)):
        assert make_box(WORLD, 2, {1: value}).low[:, 1].tolist() == [0.25, 0.25]
    assert read_fixed({1: values}) == {1: (0.25, -0.125)}


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ([0.0, 0.0], r"fixed is \[0\.0, 0\.0\]; allowed is None or a mapping"),
        ({1.0: 0.0}, r"fixed names axis 1\.0; allowed are whole numbers"),
        ({True: 0.0}, r"fixed names axis True; allowed are whole numbers"),
        ({"1": 0.0}, r"fixed names axis '1'; allowed are whole numbers"),
        ({1: "0."}, r"fixed sets axis 1 to '0\.'; allowed is a finite number, or one for each step"),
        ({1: ("0", None)}, r"fixed sets axis 1 to \('0', None\); allowed is a finite number"),
        ({1: None}, r"fixed sets axis 1 to None; allowed is a finite number"),
        ({1: torch.zeros(1, 1)}, r"fixed sets axis 1 to tensor.*allowed is a finite number"),
        ({1: torch.tensor([0.0, torch.nan])}, r"fixed sets axis 1 to nan; the world model's bounds"),
        ({1: torch.zeros(3)}, r"fixed gives axis 1 3 values"),
        ({3: 0.0}, r"fixed names axis 3, and an action has 3 numbers, counted from 0"),
        ({-1: 0.0}, r"fixed names axis -1"),
        ({1: (0.0, None, 0.1)}, r"fixed gives axis 1 3 values; .*horizon's 2 steps"),
        ({1: 0.5}, r"fixed sets axis 1 to 0\.5; the world model's bounds there are -0\.2 to 0\.4"),
        ({1: (None, -0.3)}, r"fixed sets axis 1 to -0\.3"),
        ({0: float("nan")}, r"fixed sets axis 0 to nan"),
    ],
)
def test_invalid_fixed_axes_are_refused(fixed: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        make_box(WORLD, 2, fixed)


def test_a_prefix_fixes_the_first_steps_of_its_problem() -> None:
    prefix = torch.tensor([[[0.0, 0.1, 0.3]], [[-0.1, 0.4, 0.3]]])
    box = with_prefix(WORLD, make_box(WORLD, 3, {0: 0.05}), prefix, 2)
    assert box.low.shape == box.high.shape == (2, 3, 3)
    for edge, bound in ((box.low, WORLD.action_low), (box.high, WORLD.action_high)):
        assert torch.equal(edge[:, :1], prefix)  # the prefix has precedence over fixed axes
        assert bool((edge[:, 1:, 0] == torch.tensor(0.05)).all())
        assert torch.equal(edge[:, 1:, 1:], bound[1:].expand(2, 2, 2))


def test_a_prefix_outside_of_the_bounds_by_rounding_is_clipped() -> None:
    prefix = torch.tensor([[[0.1 + 5e-7, 0.0, 0.3]]], dtype=torch.float64)
    box = with_prefix(WORLD, make_box(WORLD, 2, None), prefix, 1)
    assert box.low[0, 0, 0] == box.high[0, 0, 0] == WORLD.action_high[0]


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        (
            torch.zeros(1, 3),
            r"prefix has shape \(1, 3\); allowed is \[B, J, A\] with B=1, A=3 and J from 1 to 1",
        ),
        (torch.zeros(()), r"prefix has shape \(\)"),
        ([[[0.0, 0.0, 0.3]]], r"prefix is a list; allowed is a tensor \[B, J, A\]"),
        (torch.zeros(2, 1, 3), r"prefix has shape \(2, 1, 3\)"),
        (torch.zeros(1, 1, 2), r"prefix has shape \(1, 1, 2\)"),
        (torch.zeros(1, 0, 3), r"prefix has shape \(1, 0, 3\)"),
        (torch.zeros(1, 2, 3), r"prefix has shape \(1, 2, 3\).*raise the horizon"),
        (torch.tensor([[[0.0, torch.nan, 0.3]]]), r"prefix has NaN or infinite entries"),
        (torch.tensor([[[0.2, 0.5, 0.3]]]), r"leaves the world model's bounds on axis 0, 1;"),
    ],
)
def test_a_prefix_that_does_not_fit_is_refused(prefix: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        with_prefix(WORLD, make_box(WORLD, 2, None), prefix, 1)
