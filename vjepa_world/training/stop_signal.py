"""Ctrl-C and SIGTERM as a wish that the training loop sees between two steps."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType


class StopSignal:
    """Turns the first SIGINT or SIGTERM into `asked`; a second SIGINT interrupts at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> StopSignal:
        self._before = {
            number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
