"""The clock of the training loop."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vjepa_world.training.engine.step_clock import StepClock


class FakeClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_clock_distinguishes_waiting_from_working() -> None:
    hands = FakeClock()

    def batches() -> Iterator[int]:
        for number in range(4):
            hands.seconds += 1.0
            yield number

    clock = StepClock(hands)
    seen: list[Any] = []
    for number in clock.watch(batches()):
        seen.append(number)
        hands.seconds += 3.0
        if number == 1:
            metrics = clock.metrics(24, "clips", flops=80.0, rate=40.0)
            assert metrics == {"clips_per_s": 48 / 8, "wait_fraction": 0.25, "matrix_share": 0.25}
            hands.seconds += 2.0
    assert seen == [0, 1, 2, 3]
    assert clock.metrics(24, "clips") == {"clips_per_s": 48 / 10, "wait_fraction": 0.2}
