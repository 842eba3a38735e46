"""Worker processes that survive crashing decoders, and name the file that crashed or stalled one.

torch's DataLoader ends the training process when a worker dies. Decoders are native code and crash on some damaged
files; here a crash is a result. A worker writes the item that it is about to read into memory shared with its parent.
If it dies of a fault of its own (SIGSEGV and the like), that item counts as failed, and a new worker does the task
without it. If it is killed from outside, or reads one file for too long, the run stops with an error that names the
file.
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

#: Identifies an item of a task.
ItemKey = tuple[int, ...]

_CRASHES = (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL)
_ALIVE_CHECK_S = 0.5  # how often a worker checks that its parent is alive
_JOIN_S = 5.0  # how long a killed process may take to end
_SLICE_S = 1.0  # how long the parent waits before it checks for progress
_MOST_RESTARTS = 5  # in a row without a result, after SIGTERM
_ITEM_BYTES = 4096
_ITEMS_PER_TASK = 32


class CurrentItem:
    """The item that a worker is reading, in memory shared with its parent."""

    def __init__(self, context: BaseContext) -> None:
        self._text = context.RawArray(ctypes.c_char, _ITEM_BYTES)
        self._count = context.RawValue(ctypes.c_uint64, 0)

    def write(self, key: ItemKey, name: str) -> None:
        """Set the item that is about to be read."""
        text = f"{','.join(map(str, key))} {name}".encode(errors="surrogateescape")
        self._text.value = text[: _ITEM_BYTES - 1]
        self._count.value += 1

    def clear(self) -> None:
        """Set that nothing is being read."""
        self._text.value = b""
        self._count.value += 1

    def read(self) -> tuple[ItemKey, str] | None:
        """Return the item's key and name; None if nothing is being read."""
        text = self._text.value.decode(errors="surrogateescape")
        if not text:
            return None
        key, _, name = text.partition(" ")
        return tuple(int(number) for number in key.split(",")), name

    @property
    def count(self) -> int:
        """Number of changes so far."""
        return int(self._count.value)


#: Does a task in a worker: skips the failed items (with the reason), and sets each item before it reads it.
Serve = Callable[[T, Mapping[ItemKey, str], CurrentItem], R]


@dataclass
class _Worker(Generic[T]):
    process: multiprocessing.process.BaseProcess
    link: Connection
    current: CurrentItem
    pending: deque[T] = field(default_factory=deque)
    failed: dict[ItemKey, str] = field(default_factory=dict)
    stalled_s: float = 0.0
    seen: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class ProcessWording:
    """How error messages name a worker process.

    Attributes:
        who: The process.
        doing: What it does with an item.
        advice: How to use less memory.
    """

    who: str = "loader process"
    doing: str = "reading"
    advice: str = "lower trainer.workers, data.memory_gb or data.open_videos"

    def crashed(self, name: str, by: str) -> str:
        """Return the message about an item that crashed a worker."""
        if self.doing != "reading":
            return f"A {self.who} crashed ({by}) while it was {self.doing} {name}. Run again; report it if it recurs."
        return (
            f"Cannot read {name}: its decoder crashed ({by}). Expected a whole file that FFmpeg decodes; replace it or "
            "take it out of the data."
        )


class WorkerPool(Generic[T, R]):
    """Worker processes; each does its tasks in order.

    Args:
        serve: Does a task; it is pickled to the workers (or inherited by forking).
        count: Number of workers.
        timeout_s: How long a worker may stay at one item while its result is awaited [s].
        start_method: "fork" or "spawn"; None takes the system's default.
        words: How errors name the workers.
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
        parent_end, child_end = self._context.Pipe()
        process = self._context.Process(
            target=_work, args=(self._serve, child_end, parent_end, current, os.getpid()), daemon=True
        )
        process.start()
        child_end.close()
        return process, parent_end

    def __len__(self) -> int:
        return len(self._workers)

    def submit(self, worker: int, task: T) -> None:
        """Give a task to worker number `worker`."""
        receiver = self._workers[worker]
        receiver.pending.append(task)
        self._send(receiver, task)

    def receive(self) -> R:
        """Wait for the next result of any worker.

        Raises:
            DataError: A worker was killed, or reads one file for too long; the file is named.
            VJEPAWorldError: What the task itself raised.
        """
        while True:
            busy = [worker for worker in self._workers if worker.pending]
            if not busy:
                raise RuntimeError("no task is pending")
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
                    self._check_progress(worker, slice_s)

    def _take(self, worker: _Worker[T]) -> tuple[R] | None:
        """Return a worker's result; None if it died and was replaced."""
        try:
            # A dead process may have sent a result before.
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

    def _check_progress(self, worker: _Worker[T], waited_s: float) -> None:
        """Raise if a worker has been at the same file for too long.

        Only the time spent waiting counts: computing in between, or a suspended job, delays nobody.
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
        """Start a new process in place of a dead one, which skips the item that crashed it."""
        worker.process.join()
        code = worker.process.exitcode or 0
        at = worker.current.read()
        name = at[1] if at is not None else "no file"
        if at is not None and -code in _CRASHES:
            worker.failed[at[0]] = self._words.crashed(name, signal.Signals(-code).name)
        elif -code == signal.SIGTERM and worker.restarts < _MOST_RESTARTS:
            worker.restarts += 1  # sent to the whole job; the main process handles it
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
        except OSError:  # it is dead; receive() notices, and sends its pending tasks to the next one
            logger.debug("a loader process was dead before it got a task")

    def close(self) -> None:
        """Kill the workers."""
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
    """Do tasks until the parent ends."""
    parents.close()  # else the death of the parent would not be noticed
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes; the parent handles it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # not the parent's handler
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
        except OSError:  # the parent has ended
            return


def _end_with(parent: int) -> None:
    """End this process at once when its parent ends."""
    process = multiprocessing.parent_process()
    sentinel = [process.sentinel] if process is not None else []
    # The sentinel fires at once, unless a process forked later holds it open; hence the parent's number is polled too.
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
    """Return `function(item)` for every item, called in worker processes, in order.

    Args:
        function: What is called.
        items: Its arguments.
        crash: Makes the result of an item that crashed its process, from the reason.
        timeout_s: How long one item may take [s].
        items_per_task: Items that are sent to a worker at once.

    Raises:
        DataError: An item took longer than `timeout_s`, or a worker was killed from outside.
    """
    tasks = [
        range(start, min(start + items_per_task, len(items)))
        for start in range(0, len(items), items_per_task)
    ]
    results: list[R | None] = [None] * len(items)
    if not tasks:
        return []
    serve = _Mapper(function, items, crash=crash)
    with WorkerPool[tuple[int, range], tuple[int, list[R]]](
        serve, min(len(tasks), available_cores()), timeout_s
    ) as pool:
        for number, found in _as_completed(pool, tasks, per_worker=2):
            results[tasks[number].start : tasks[number].stop] = found
    return results  # type: ignore[return-value]


def spawned_map(
    function: Callable[[T], R],
    items: Sequence[T],
    workers: int,
    describe: Callable[[T], str],
    words: ProcessWording,
    is_last: Callable[[R], bool] = lambda result: False,
) -> Iterator[R]:
    """Yield `function(item)` for every item as they complete, called in spawned processes that share nothing.

    The processes end when the iteration does, by an error or a signal, and when this process is killed.

    Args:
        function: What is called; it can be pickled, like the items.
        items: Its arguments.
        workers: Number of processes.
        describe: Names an item in errors.
        words: Names a process in errors.
        is_last: After a result for which this is true no further item is begun; those that were are still yielded.

    Raises:
        DataError: A process died; its item is named.
        VJEPAWorldError: What the function itself raised.
    """
    count = max(min(workers, len(items)), 1)
    serve = _Mapper(function, items, [describe(item) for item in items])
    tasks = [range(number, number + 1) for number in range(len(items))]
    with WorkerPool[tuple[int, range], tuple[int, list[R]]](serve, count, math.inf, "spawn", words) as pool:
        for _, (result,) in _as_completed(pool, tasks, per_worker=1, is_last=lambda found: is_last(found[0])):
            yield result


def _as_completed(
    pool: WorkerPool[tuple[int, range], tuple[int, R]],
    tasks: Sequence[range],
    *,
    per_worker: int,
    is_last: Callable[[R], bool] = lambda result: False,
) -> Iterator[tuple[int, R]]:
    """Yield the number and the result of each task as it completes; each worker has `per_worker` tasks at a time.

    After a result for which `is_last` is true no further task is begun.
    """
    left, owners = deque(enumerate(tasks)), dict[int, int]()

    def submit(worker: int) -> None:
        if left:
            owners[left[0][0]] = worker
            pool.submit(worker, left.popleft())

    for worker in [*range(len(pool))] * per_worker:
        submit(worker)
    while owners:
        number, result = pool.receive()
        if is_last(result):
            left.clear()
        submit(owners.pop(number))
        yield number, result


@dataclass
class _Mapper(Generic[T, R]):
    """Calls a function for a range of items. `crash` makes the result of a failed one; None raises."""

    function: Callable[[T], R]
    items: Sequence[T]
    names: Sequence[str] | None = None
    crash: Callable[[str], R] | None = None

    def __call__(
        self, task: tuple[int, range], failed: Mapping[ItemKey, str], current: CurrentItem
    ) -> tuple[int, list[R]]:
        number, indices = task
        found = []
        for index in indices:
            if (index,) in failed and self.crash is None:
                raise DataError(failed[index,])
            if (index,) in failed and self.crash is not None:
                found.append(self.crash(failed[index,]))
                continue
            current.write((index,), str(self.items[index]) if self.names is None else self.names[index])
            found.append(self.function(self.items[index]))
        return number, found
