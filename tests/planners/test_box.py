from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from planners import PlannerError
from planners.box import make_box, with_prefix
from tests.planners.worlds import PointWorld

WORLD = PointWorld([-0.1, -0.2, 0.3], [0.1, 0.4, 0.3])


def test_every_step_has_the_models_bounds_but_where_it_is_fixed() -> None:
    box = make_box(WORLD, 2, {0: 0.05, 1: (None, -0.2)})
    low, high = (
        torch.tensor([[0.05, -0.2, 0.3], [0.05, -0.2, 0.3]]),
        torch.tensor([[0.05, 0.4, 0.3], [0.05, -0.2, 0.3]]),
    )
    assert torch.equal(box.low, low)
    assert torch.equal(box.high, high)
    assert torch.equal(box.half > 0, torch.tensor([[False, True, False], [False, False, False]]))
    torch.testing.assert_close(box.centre[0], torch.tensor([0.05, 0.1, 0.3]))


def test_a_value_that_is_a_bound_but_for_rounding_is_that_bound() -> None:
    # 0.1 in float32 is not 0.1.
    assert make_box(WORLD, 1, {0: 0.1}).low[0, 0] == WORLD.action_high[0]
    assert make_box(WORLD, 1, {0: 0.1 + 5e-7}).high[0, 0] == WORLD.action_high[0]


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({3: 0.0}, r"fixed names axis 3, and an action has 3 numbers, counted from 0"),
        ({-1: 0.0}, r"fixed names axis -1"),
        ({1: (0.0, None, 0.1)}, r"fixed gives axis 1 3 values; .*horizon's 2 steps"),
        ({1: 0.5}, r"fixed sets axis 1 to 0\.5; the world model's bounds there are -0\.2 to 0\.4"),
        ({1: (None, -0.3)}, r"fixed sets axis 1 to -0\.3"),
        ({0: float("nan")}, r"fixed sets axis 0 to nan"),
    ],
)
def test_what_cannot_be_fixed_is_refused(fixed: Any, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        make_box(WORLD, 2, fixed)


def test_a_prefix_takes_the_first_steps_of_its_problem() -> None:
    prefix = torch.tensor([[[0.0, 0.1, 0.3]], [[-0.1, 0.4, 0.3]]])
    box = with_prefix(WORLD, make_box(WORLD, 3, {0: 0.05}), prefix, 2)
    assert box.low.shape == box.high.shape == (2, 3, 3)
    for edge, bound in ((box.low, WORLD.action_low), (box.high, WORLD.action_high)):
        assert torch.equal(edge[:, :1], prefix)  # what is under way counts for more than what is fixed
        assert bool((edge[:, 1:, 0] == torch.tensor(0.05)).all())
        assert torch.equal(edge[:, 1:, 1:], bound[1:].expand(2, 2, 2))


def test_a_prefix_that_leaves_the_bounds_by_rounding_is_put_inside() -> None:
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
        (torch.zeros(2, 1, 3), r"prefix has shape \(2, 1, 3\)"),
        (torch.zeros(1, 1, 2), r"prefix has shape \(1, 1, 2\)"),
        (torch.zeros(1, 0, 3), r"prefix has shape \(1, 0, 3\)"),
        (torch.zeros(1, 2, 3), r"prefix has shape \(1, 2, 3\).*raise the horizon"),
        (torch.tensor([[[0.0, torch.nan, 0.3]]]), r"prefix has NaN or infinite entries"),
        (torch.tensor([[[0.2, 0.5, 0.3]]]), r"leaves the world model's bounds on axis 0, 1;"),
    ],
)
def test_a_prefix_that_does_not_fit_is_refused(prefix: Tensor, message: str) -> None:
    with pytest.raises(PlannerError, match=message):
        with_prefix(WORLD, make_box(WORLD, 2, None), prefix, 1)
