"""Schedules at the steps where their values are known."""

from __future__ import annotations

import math

import pytest

from vjepa_world.ops.schedules import ema_momentum, warmup_constant_cooldown


def rates(total: int, warmup: float, cooldown: float, peak: float = 2.0) -> list[float]:
    return [warmup_constant_cooldown(step, total, peak, warmup, cooldown) for step in range(total)]


def test_the_learning_rate_rises_stays_and_falls() -> None:
    rate = rates(100, warmup=0.1, cooldown=0.2)
    assert rate[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rate[10:81] == pytest.approx([2.0] * 71)
    assert rate[90] == pytest.approx(1.0)  # half-way down
    assert rate[85] == pytest.approx(1 + math.sqrt(0.5))
    assert rate[99] == pytest.approx(2 * math.sin(math.pi / 40) ** 2)
    assert warmup_constant_cooldown(100, 100, 2.0, 0.1, 0.2) == 0


@pytest.mark.parametrize(("warmup", "cooldown"), [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("total", [1, 2, 7, 50])
def test_every_step_has_a_positive_rate_up_to_the_peak(total: int, warmup: float, cooldown: float) -> None:
    rate = rates(total, warmup, cooldown)
    assert min(rate) > 0
    assert max(rate) <= 2.0


def test_without_warmup_and_cooldown_it_is_constant() -> None:
    assert rates(10, 0.0, 0.0) == pytest.approx([2.0] * 10)


def test_momentum_goes_in_a_straight_line() -> None:
    assert ema_momentum(0, 200, 0.99, 1.0) == 0.99
    assert ema_momentum(50, 201, 0.99, 1.0) == pytest.approx(0.9925)
    assert ema_momentum(199, 200, 0.99, 1.0) == pytest.approx(1.0)  # the last step
    assert ema_momentum(900, 200, 0.99, 1.0) == pytest.approx(1.0)
