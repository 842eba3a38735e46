"""Processes that read files which may crash, or hang, whoever reads them.

torch's DataLoader ends the training process when one of its workers dies, from a signal handler, wherever that process
is. Decoders are native code and do die of damaged files; here the death is an answer like any other. A process writes
down, in memory that outlives it, what it is about to read. When it is killed by a fault of its own (SIGSEGV and the
like), that piece of its task is known to fail, and a new process does the task without it. When it is killed from
outside, or stays at one file for too long, the run is to stop, and the file is named.
"""

from __future__ import annotations

import ctypes
import logging
import math
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any, Generic, Self, TypeVar

import torch

from vjepa_world.errors import DataError, VJEPAWorldError
from vjepa_world.system.cpu import available_cores

logger = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")

#: A piece of a task, by number.
Key = tuple[int, ...]

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_ALIVE_CHECK_S = 0.5  # how often a process looks whether its parent is still there
_JOIN_S = (
    5.0  # how long a killed process may take to go: longer if the system is in the middle of reading for it
)
_SLICE_S = 1.0  # how long the parent waits before it looks whether anything moves
_MOST_RESTARTS = 5  # in a row without a result, after signals that are nobody's fault
_NOTE_BYTES = 4096
_ITEMS_PER_TASK = 32


class CurrentItem:
    """What a process is reading, in memory that its parent sees too."""

    def __init__(self, context: BaseContext) -> None:
        self._text = context.RawArray(ctypes.c_char, _NOTE_BYTES)
        self._count = context.RawValue(ctypes.c_uint64, 0)

    def write(self, key: Key, name: str) -> None:
        """Say what is about to be read."""
        text = f"{','.join(map(str, key))} {name}".encode(errors="surrogateescape")
        self._text.value = text[: _NOTE_BYTES - 1]
        self._count.value += 1

    def clear(self) -> None:
        """Say that nothing is."""
        self._text.value = b""
        self._count.value += 1

    def read(self) -> tuple[Key, str] | None:
        """Return the last thing said."""
        text = self._text.value.decode(errors="surrogateescape")
        if not text:
            return None
        key, _, name = text.partition(" ")
        return tuple(int(number) for number in key.split(",")), name

    @property
    def count(self) -> int:
        """How often something was said."""
        return int(self._count.value)


#: Does a task, leaving out the pieces known to fail (with the reason), and notes each piece before it reads it.
Serve = Callable[[T, Mapping[Key, str], CurrentItem], R]


@dataclass
class _Worker(Generic[T]):
    process: multiprocessing.process.BaseProcess
    link: Connection
    current: CurrentItem
    pending: deque[T] = field(default_factory=deque)
    failed: dict[Key, str] = field(default_factory=dict)
    stalled_s: float = 0.0
    seen: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class ProcessWording:
    """How errors speak of a process.

    Attributes:
        who: What it is.
        doing: What it does to what it noted.
        advice: How to get by with less memory.
    """

    who: str = "loader process"
    doing: str = "reading"
    advice: str = "lower trainer.workers, data.memory_gb or data.open_videos"

    def crashed(self, name: str, by: str) -> str:
        """Return the sentence on what a process died of."""
        if self.doing != "reading":
            return f"A {self.who} crashed ({by}) while it was {self.doing} {name}. Run again; report it if it recurs."
        return (
            f"Cannot read {name}: its decoder crashed ({by}). Expected a whole file that FFmpeg decodes; replace it or "
            "take it out of the data."
        )


class WorkerPool(Generic[T, R]):
    """Some processes that do tasks, each those it is given, in their order.

    Args:
        serve: does a task; it is sent to the processes (inherited, where they are forked).
        count: how many processes.
        timeout_s: how long one of them may stay at one piece of a task while it is waited for [s].
        start_method: how processes are started, "fork" or "spawn"; None takes the system's way.
        words: what they are called in errors.
    """

    def __init__(
        self,
        serve: Serve[T, R],
        count: int,
        timeout_s: float,
        start_method: str | None = None,
        words: ProcessWording | None = None,
    ) -> None:
        self._serve = serve
        self._timeout_s = timeout_s
        self._words = words or ProcessWording()
        self._context: Any = multiprocessing.get_context(start_method)
        self._workers: list[_Worker[T]] = []
        for _ in range(count):
            current = CurrentItem(self._context)
            self._workers.append(_Worker(*self._start(current), current))

    def _start(self, current: CurrentItem) -> tuple[multiprocessing.process.BaseProcess, Connection]:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._serve, theirs, ours, current, os.getpid()), daemon=True
        )
        process.start()
        theirs.close()
        return process, ours

    def __len__(self) -> int:
        return len(self._workers)

    def submit(self, worker: int, task: T) -> None:
        """Give a task to process `worker`."""
        mine = self._workers[worker]
        mine.pending.append(task)
        self._send(mine, task)

    def receive(self) -> R:
        """Wait for the next result of any process.

        Raises:
            DataError: a process was killed, or reads one file for too long; the file is named. Also what the task
                itself raised.
        """
        while True:
            busy = [worker for worker in self._workers if worker.pending]
            if not busy:
                raise RuntimeError("no task is under way")
            slice_s = min(_SLICE_S, self._timeout_s / 4)
            waited_for: list[Any] = [thing for w in busy for thing in (w.link, w.process.sentinel)]
            ready = connection.wait(waited_for, slice_s)
            for worker in busy:
                if worker.link in ready or worker.process.sentinel in ready:
                    result = self._take(worker)
                    if result is not None:
                        return result[0]
            if not ready:
                for worker in busy:
                    self._look_at(worker, slice_s)

    def _take(self, worker: _Worker[T]) -> tuple[R] | None:
        """Return a worker's result; None after it died and was replaced."""
        try:
            # A process that died may have sent something before.
            result = worker.link.recv() if worker.link.poll() else None
        except (EOFError, OSError):
            result = None
        if result is None:
            self._replace(worker)
            return None
        worker.pending.popleft()
        worker.stalled_s, worker.restarts = 0.0, 0
        if isinstance(result, VJEPAWorldError):
            raise result
        return result

    def _look_at(self, worker: _Worker[T], waited_s: float) -> None:
        """Stop when a worker has been at the same file for too long.

        Only time that was waited counts: while training computes, or the whole job is suspended, nobody is late.
        """
        if worker.current.count != worker.seen:
            worker.seen, worker.stalled_s = worker.current.count, 0.0
        worker.stalled_s += waited_s
        if worker.stalled_s < self._timeout_s:
            return
        at = worker.current.read()
        name = at[1] if at is not None else "no file"
        raise DataError(
            f"A loader process has been reading {name} for more than {self._timeout_s:g} s. Check the disk or network "
            "that it lies on, take the file out of the data, or raise data.timeout_s."
        )

    def _replace(self, worker: _Worker[T]) -> None:
        """Start a new process in place of a dead one, that leaves out what it died of."""
        worker.process.join()
        code = worker.process.exitcode or 0
        at = worker.current.read()
        name = at[1] if at is not None else "no file"
        if at is not None and -code in _CRASHES:
            worker.failed[at[0]] = self._words.crashed(name, signal.Signals(-code).name)
        elif -code == signal.SIGTERM and worker.restarts < _MOST_RESTARTS:
            worker.restarts += 1  # sent to the whole job, whose main process knows what to do
        else:
            how = (
                f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
            )
            raise DataError(
                f"A {self._words.who} {how} while it was {self._words.doing} {name}. SIGKILL mostly means that memory "
                f"ran out: {self._words.advice}; else look for its traceback above."
            )
        logger.info("a loader process ended with code %d at %s and was replaced", code, name)
        worker.link.close()
        worker.current.clear()
        worker.process, worker.link = self._start(worker.current)
        for task in worker.pending:
            self._send(worker, task)

    def _send(self, worker: _Worker[T], task: T) -> None:
        try:
            worker.link.send((task, worker.failed))
        except OSError:  # it is dead; receive() finds out, and sends all that is pending to the next one
            logger.debug("a loader process was dead before it got a task")

    def close(self) -> None:
        """End the processes, at once."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join(_JOIN_S)
            worker.link.close()
        self._workers.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _work(
    serve: Serve[T, R], link: Connection, parents: Connection, current: CurrentItem, parent: int
) -> None:
    """Do tasks until the parent is gone."""
    parents.close()  # else a dead parent would not be noticed at this end
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent decides
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not what the parent does
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    while True:
        try:
            task, failed = link.recv()
        except (EOFError, OSError):
            return
        try:
            result: Any = (serve(task, failed, current),)
        except VJEPAWorldError as error:
            result = error
        current.clear()
        try:
            link.send(result)
        except OSError:  # the parent is gone
            return


def _end_with(parent: int) -> None:
    """End this process, whatever it does, when its parent is gone: nobody waits for its results."""
    process = multiprocessing.parent_process()
    sentinel = [process.sentinel] if process is not None else []
    # The sentinel tells at once, unless a process that was forked later keeps it open: so the number is looked at too.
    while os.getppid() == parent and not connection.wait(sentinel, _ALIVE_CHECK_S):
        pass
    os._exit(1)


def crash_safe_map(
    function: Callable[[T], R],
    items: Sequence[T],
    crash: Callable[[str], R],
    timeout_s: float = 120.0,
    items_per_task: int = _ITEMS_PER_TASK,
) -> list[R]:
    """Return `function(item)` of every item, called in other processes; `crash(reason)` where it kills its process.

    Raises:
        DataError: an item took longer than `timeout_s`, or a process was killed from outside.
    """
    starts = range(0, len(items), items_per_task)
    count = min(len(starts), available_cores())
    results: list[R | None] = [None] * len(items)
    if not count:
        return []
    serve = _Mapper(function, items, crash, items_per_task)
    with WorkerPool[int, tuple[int, list[R]]](serve, count, timeout_s) as pool:
        left = deque(starts)
        owners: dict[int, int] = {}

        def give(worker: int) -> None:
            if left:
                owners[left[0]] = worker
                pool.submit(worker, left.popleft())

        for worker in [*range(count), *range(count)]:  # each has one under way and one waiting
            give(worker)
        for _ in starts:
            start, found = pool.receive()
            results[start : start + len(found)] = found
            give(owners.pop(start))
    return results  # type: ignore[return-value]


def spawned_map(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    describe: Callable[[T], str],
    words: ProcessWording,
) -> Iterator[R]:
    """Yield `function(item)` of every item as they come, called in new processes that share nothing with this one.

    The processes end at once when the iteration does, by an error or a signal, and when this process is killed.

    Args:
        function: What is done; it can be pickled, like the items.
        items: What it is done to.
        workers: How many processes.
        describe: What an item is called in errors.
        words: What a process is called in errors.

    Raises:
        DataError: A process died; what it was at is named. Also what the function itself raised.
    """
    count = max(min(workers, len(items)), 1)
    serve = _Caller(function, [describe(item) for item in items])
    with WorkerPool[tuple[int, T], tuple[int, R]](serve, count, math.inf, "spawn", words) as pool:
        left = deque(enumerate(items))
        owners: dict[int, int] = {}

        def give(worker: int) -> None:
            if left:
                owners[left[0][0]] = worker
                pool.submit(worker, left.popleft())

        for worker in range(count):
            give(worker)
        for _ in items:
            number, result = pool.receive()
            give(owners.pop(number))
            yield result


@dataclass
class _Caller(Generic[T, R]):
    function: Callable[[T], R]
    names: Sequence[str]

    def __call__(self, task: tuple[int, T], failed: Mapping[Key, str], current: CurrentItem) -> tuple[int, R]:
        number, item = task
        if (number,) in failed:
            raise DataError(failed[(number,)])
        current.write((number,), self.names[number])
        return number, self.function(item)


@dataclass
class _Mapper(Generic[T, R]):
    function: Callable[[T], R]
    items: Sequence[T]
    crash: Callable[[str], R]
    items_per_task: int

    def __call__(self, start: int, failed: Mapping[Key, str], current: CurrentItem) -> tuple[int, list[R]]:
        found = []
        for index in range(start, min(start + self.items_per_task, len(self.items))):
            if (index,) in failed:
                found.append(self.crash(failed[(index,)]))
                continue
            current.write((index,), str(self.items[index]))
            found.append(self.function(self.items[index]))
        return start, found
