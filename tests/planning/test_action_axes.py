"""Metrics are stored by the names of action axes, so these must be unique."""

from __future__ import annotations

import pytest
import torch

from vjepa_world.evaluation.open_loop.recovered_actions import action_errors
from vjepa_world.models.config import EmbodimentConfig
from vjepa_world.planning.action_axes import action_space


@pytest.mark.parametrize(
    "names",
    [
        ("j", "j", "j"),
        ("", "", ""),
        ("distance", "action 2", ""),
        ("action 0", "b", "c"),
        ("j", "j", "j (action 0)"),
    ],
)
def test_each_axis_has_an_error_of_its_own(names: tuple[str, str, str]) -> None:
    robot = EmbodimentConfig(
        action_dim=3, state_dim=3, numbers="joints", actions="target", action_names=names
    )
    space = action_space(3, robot)
    errors = action_errors(torch.zeros(2, 3), torch.tensor([[1.0, 2.0, 2.0]]).repeat(2, 1), space)
    assert errors.pop("distance").tolist() == [3.0, 3.0]
    if any(names):
        assert [values.tolist() for values in errors.values()] == [[1.0] * 2, [2.0] * 2, [2.0] * 2]
    assert all(axis.name for axis in space.axes)
    assert len({axis.name for axis in space.axes}) == 3
