"""Graceful shutdown: Ctrl-C and SIGTERM end the training between two steps, or within one that can be dropped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType


class StopSignal:
    """Sets `asked` at the first SIGINT or SIGTERM; a second SIGINT interrupts at once.

    Python handles signals in the main thread only. In another thread this class changes nothing: a program that trains
    in a thread has handlers of its own.
    """

    def __init__(self) -> None:
        self.asked = False
        self._grace_s: float | None = None

    def __enter__(self) -> StopSignal:
        is_main = threading.current_thread() is threading.main_thread()
        handlers = {signal.SIGINT: self._ask, signal.SIGTERM: self._ask, signal.SIGALRM: self._drop}
        self._before = {number: signal.signal(number, what) for number, what in handlers.items() if is_main}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in self._before.items():
            # None stands for a handler that was not set from Python, and cannot be restored.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)

    @contextmanager
    def droppable(self, grace_s: float) -> Iterator[None]:
        """Let a signal interrupt the block if it has not ended `grace_s` later; its result can be dropped.

        Raises:
            KeyboardInterrupt: A signal came, and the block did not end in time.
        """
        self._grace_s = grace_s
        try:
            if self.asked:
                self._drop_soon()
            yield
        finally:
            self._grace_s = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.asked = True
        self._drop_soon()

    def _drop_soon(self) -> None:
        if self._before and self._grace_s is not None:
            # Repeatedly, since code that catches all exceptions may swallow one.
            signal.setitimer(signal.ITIMER_REAL, self._grace_s, self._grace_s)

    def _drop(self, number: int, frame: FrameType | None) -> None:
        if self._grace_s is not None:
            raise KeyboardInterrupt
        signal.setitimer(signal.ITIMER_REAL, 0.0)
