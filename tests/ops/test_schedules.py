"""Schedules at the steps where their values are known."""

from __future__ import annotations

import itertools
import math

import pytest

from vjepa_world.ops.schedules import (
    cosine_schedule,
    ramp,
    warmup_constant_cooldown,
    warmup_cosine,
)


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


def test_the_published_schedule_of_vjepa2() -> None:
    """12,000 steps from 1e-4 to 5.25e-4, constant, 12,000 in a straight line to 1e-6: a thousandth of it here."""
    rate = [
        warmup_constant_cooldown(step, 252, 5.25e-4, 12 / 252, 12 / 252, start=1e-4, end=1e-6, shape="linear")
        for step in range(253)
    ]
    change = [after - before for before, after in itertools.pairwise(rate)]
    assert rate[0] == pytest.approx(1e-4 + 4.25e-4 / 12)
    assert change[:11] == pytest.approx([4.25e-4 / 12] * 11)
    assert rate[11:241] == pytest.approx([5.25e-4] * 230)
    assert change[240:] == pytest.approx([-5.24e-4 / 12] * 12)
    assert rate[252] == pytest.approx(1e-6)  # after the last step


def test_a_cosine_cooldown_goes_to_its_end_value() -> None:
    rate = [warmup_constant_cooldown(step, 40, 3.0, 0.0, 0.5, start=1.0, end=1.0) for step in (19, 30, 40)]
    assert rate == pytest.approx([3.0, 2.0, 1.0])


def test_warmup_then_cosine() -> None:
    """I-JEPA's: 2e-4 to 1e-3 in 40 of 300 epochs, then to 1e-6."""
    rate = [warmup_cosine(step, 300, 1e-3, 40 / 300, start=2e-4, end=1e-6) for step in range(300)]
    change = [after - before for before, after in itertools.pairwise(rate)]
    assert rate[0] == pytest.approx(2e-4 + 8e-4 / 40)
    assert change[:39] == pytest.approx([8e-4 / 40] * 39)
    assert rate[39] == max(rate) == pytest.approx(1e-3)
    assert rate[39 + 65] == pytest.approx(1e-6 + 9.99e-4 * (2 + math.sqrt(2)) / 4)  # an eighth of a turn
    assert rate[39 + 130] == pytest.approx((1e-3 + 1e-6) / 2)
    assert rate[299] == pytest.approx(1e-6)
    assert warmup_cosine(400, 300, 1e-3, 40 / 300, end=1e-6) == pytest.approx(1e-6)


def test_without_warmup_it_is_a_cosine() -> None:
    for step in range(20):
        assert warmup_cosine(step, 20, 2.0, 0.0, end=0.5) == cosine_schedule(step, 20, 2.0, 0.5)


def test_weight_decay_rises_along_a_cosine() -> None:
    decay = [cosine_schedule(step, 400, 0.04, 0.4) for step in range(400)]
    assert decay[99] == pytest.approx(0.04 + 0.36 * (2 - math.sqrt(2)) / 4)
    assert decay[199] == pytest.approx(0.22)
    assert decay[399] == pytest.approx(0.4)
    assert decay == sorted(decay)
    assert cosine_schedule(900, 400, 0.04, 0.4) == pytest.approx(0.4)


def test_a_schedule_longer_than_the_run_ends_on_its_way() -> None:
    """V-JEPA stretches its schedules by 1.25: at the last of 80 of 100 steps the cosine has turned by 0.8 pi."""
    assert cosine_schedule(79, 100, 1.0, 0.0) == pytest.approx((3 - math.sqrt(5)) / 8)


def test_a_ramp_is_flat_before_and_after() -> None:
    """V-JEPA 2.1's: steps 15,000 to 30,000."""
    assert [ramp(step, 15e3, 30e3) for step in (0, 15e3, 18e3, 30e3, 9e9)] == pytest.approx([0, 0, 0.2, 1, 1])
    assert [ramp(x, 0.5, 0.5) for x in (0.49, 0.5)] == pytest.approx([0, 1])
    assert ramp(0.0, 0.0, 0.0) == 1
