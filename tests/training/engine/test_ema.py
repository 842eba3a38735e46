"""The moving average: momentum, update and distance."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from vjepa_world.training.engine.ema import ema_distance, ema_momentum, update_ema


def test_the_momentum_goes_linearly_from_the_first_to_the_last() -> None:
    assert ema_momentum(0.0, 0.99, 1.0) == 0.99
    assert ema_momentum(0.25, 0.99, 1.0) == pytest.approx(0.9925)
    assert ema_momentum(1.0, 0.99, 1.0) == pytest.approx(1.0)
    assert {ema_momentum(step / 6, 0.99925, 0.99925) for step in range(7)} == {0.99925}


def test_update_ema_interpolates_the_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    online, average = nn.Linear(3, 2), nn.Linear(3, 2)
    with torch.no_grad():
        for weight in (*online.parameters(), *average.parameters()):
            weight.copy_(torch.randn(weight.shape, generator=generator))
    expected = [0.9 * a + 0.1 * o for a, o in zip(average.parameters(), online.parameters(), strict=True)]
    update_ema(average, online, 0.9)
    for weight, value in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(weight.detach(), value.detach())


def test_ema_distance_is_the_relative_l2_of_all_weights() -> None:
    torch.manual_seed(0)
    online = nn.Sequential(*(nn.Linear(3, 3) for _ in range(40)))  # more tensors than are compared at once
    target = copy.deepcopy(online)
    assert ema_distance(target, online) == 0.0
    with torch.no_grad():
        for weight in target.parameters():
            weight.mul_(0.75)
    assert ema_distance(target, online) == pytest.approx(0.25)
    with torch.no_grad():
        list(target.parameters())[-1][2] += 5.0
    flat = [torch.cat([p.flatten() for p in model.parameters()]) for model in (target, online)]
    assert ema_distance(target, online) == pytest.approx(((flat[1] - flat[0]).norm() / flat[1].norm()).item())
