"""Progress of long work: a bar on a terminal, a line from time to time in a file or pipe.

Output never interrupts the work: if it cannot be written any more (a closed pipe, a terminal that hung up), it is
dropped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

T = TypeVar("T")

#: Time between two lines without a terminal [s].
LINE_EVERY_S = 30.0


class Progress(Protocol):
    """A progress display."""

    n: float
    total: float | None

    def update(self, count: float = 1) -> object:
        """Advance the count."""
        ...

    def set_postfix(self, values: Mapping[str, object], /) -> object:
        """Set the values shown after the count."""
        ...

    def reset(self, total: int) -> object:
        """Start again with another total."""
        ...

    def close(self) -> object:
        """Show the final state."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> object: ...


def progress(
    what: str,
    *,
    unit: str,
    total: int | None = None,
    initial: int = 0,
    delay_s: float = 0.0,
    disable: bool = False,
) -> Progress:
    """Return a progress bar on standard error; plain lines if that is not a terminal.

    Args:
        what: Description of the work.
        unit: The counted unit, singular.
        total: Total count; None if unknown.
        initial: Count at the start, of resumed work.
        delay_s: Time before anything is shown [s]; shorter work shows nothing.
        disable: Show nothing.
    """
    if _is_terminal() and not disable:
        from tqdm import tqdm

        bar: Progress = tqdm(
            desc=what,
            unit=unit,
            total=total,
            initial=initial,
            delay=delay_s,
            mininterval=1.0,
            file=_Forgiving(),
        )
        return bar
    return _Lines(what, unit, total, initial, delay_s, disable)


def track(
    items: Iterable[T], what: str, *, unit: str, total: int | None = None, delay_s: float = 0.0
) -> Iterator[T]:
    """Yield the items and show the progress; `total` is needed if they have no length."""
    count = len(items) if total is None and isinstance(items, Sized) else total
    with progress(what, unit=unit, total=count, delay_s=delay_s) as bar:
        for item in items:
            yield item
            bar.update()


def say(text: str) -> None:
    """Write a line to standard error, above a progress bar if there is one."""
    if _is_terminal():
        from tqdm import tqdm

        tqdm.write(text, file=_Forgiving())
    else:
        _write(text + "\n")


class _Lines:
    """Progress as plain lines: one every half minute, and the last one."""

    def __init__(
        self, what: str, unit: str, total: float | None, initial: int, delay_s: float, disable: bool
    ) -> None:
        self.what, self.unit, self.total = what, unit, total
        self.n: float = initial
        self._initial, self._delay_s, self._quiet = initial, delay_s, disable
        self._values: dict[str, object] = {}
        self._begin = self._shown = time.monotonic()
        self._last: float = -1

    def update(self, count: float = 1) -> None:
        self.n += count
        if time.monotonic() - self._shown >= LINE_EVERY_S:
            self._show()

    def set_postfix(self, values: Mapping[str, object]) -> None:
        self._values = dict(values)

    def reset(self, total: int) -> None:
        self.total, self.n, self._initial = total, 0, 0
        self._begin = time.monotonic()

    def close(self) -> None:
        if self.n != self._last and time.monotonic() - self._begin >= self._delay_s:
            self._show()
        self._quiet = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _show(self) -> None:
        self._shown, self._last = time.monotonic(), self.n
        if not self._quiet:
            _write(self._line(self._shown - self._begin) + "\n")
        self._values = {}  # each is shown once: the next line may come before new ones

    def _line(self, seconds: float) -> str:
        count = f"{self.n:.0f}" if self.total is None else f"{self.n:.0f} of {self.total:.0f}"
        plural = "" if (self.n if self.total is None else self.total) == 1 else "s"
        parts = [f"{self.what}: {count} {self.unit}{plural} in {_clock(seconds)}"]
        done = self.n - self._initial
        if done > 0 and seconds > 0:
            parts.append(f"{_rate(done / seconds)} per second")
            if self.total is not None and self.n < self.total:
                parts.append(f"{_clock((self.total - self.n) * seconds / done)} to go")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in self._values.items())])


def _rate(number: float) -> str:
    """Return a number with three digits and no exponent where it is large: `31,900`."""
    return f"{float(f'{number:.3g}'):,.12g}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # closed
        return False


def _write(text: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except (OSError, ValueError):  # no reader, or closed
        pass


class _Forgiving:
    """Standard error, ignoring failures to write."""

    def write(self, text: str) -> None:
        _write(text)

    def flush(self) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr, name)
