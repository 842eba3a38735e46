"""Ctrl-C and SIGTERM as a request that the training loop sees between two steps."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StopSignal:
    """Turns the first SIGINT or SIGTERM into `asked`; a second SIGINT interrupts at once.

    Python lets the main thread alone handle signals. In any other one nothing is handled here, and a signal does what
    it did before: a program that trains in a thread has handlers of its own.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> StopSignal:
        is_main = threading.current_thread() is threading.main_thread()
        numbers = (signal.SIGINT, signal.SIGTERM) if is_main else ()
        self._before = {number: signal.signal(number, self._ask) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            # None stands for a handler that was not set from Python, and cannot be.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
