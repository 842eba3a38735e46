"""A worker that crashes on an item returns an error; one that is killed or stalls raises an error naming the item."""

from __future__ import annotations

import ctypes
import faulthandler
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPO
from vjepa_world.data.loading.worker_pool import ProcessWording, crash_safe_map, spawned_map
from vjepa_world.errors import DataError


def double(number: int) -> int | str:
    """Return twice the number; multiples of 40 crash with a segmentation fault, from 7 on."""
    if number % 40 == 7:
        faulthandler.disable()
        ctypes.string_at(0)
    return 2 * number


def aborted(number: int) -> int | str:
    if number == 1:
        faulthandler.disable()
        os.abort()
    return number


def killed(number: int) -> int | str:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def sleeping(number: int) -> int | str:
    time.sleep(60 if number == 5 else 0.01)
    return number


def sleeping_long(number: int) -> int:
    time.sleep(60)
    return number


def wrong(number: int) -> int | str:
    return 1 // (number - 5)


def refused(number: int) -> int | str:
    if number == 5:
        raise DataError("five is refused")
    return number


def test_crashes_are_returned_as_results() -> None:
    results = crash_safe_map(double, range(200), str)
    for number, result in enumerate(results):
        if number % 40 == 7:
            assert f"Cannot read {number}: its decoder crashed (SIGSEGV)" in str(result)
        else:
            assert result == 2 * number
    assert "crashed (SIGABRT)" in str(crash_safe_map(aborted, range(3), str)[1])
    assert crash_safe_map(double, [], str) == []


def test_a_kill_a_stall_and_an_internal_error_are_raised() -> None:
    with pytest.raises(DataError, match="was killed by SIGKILL while it was reading 5"):
        crash_safe_map(killed, range(10), str)
    start = time.monotonic()
    with pytest.raises(DataError, match="has been reading 5 for more than 0.8 s"):
        crash_safe_map(sleeping, range(100), str, timeout_s=0.8)
    assert time.monotonic() - start < 15
    with pytest.raises(DataError, match="ended with exit code 1 while it was reading 5"):
        crash_safe_map(wrong, range(10), str)
    with pytest.raises(DataError, match="five is refused"):
        crash_safe_map(refused, range(10), str)
    assert multiprocessing.active_children() == []


WORDS = ProcessWording("test process", "testing", "test less")


def spawned(function: Callable[[int], Any], count: int, workers: int = 2) -> Iterator[Any]:
    return spawned_map(function, range(count), workers, "number {}".format, WORDS)


def test_spawned_processes_finish_all_tasks_and_report_what_killed_them() -> None:
    assert sorted(spawned(abs, 9, workers=3)) == list(range(9))
    with pytest.raises(
        DataError, match="A test process was killed by SIGKILL while it was testing number 5.*test less"
    ):
        list(spawned(killed, 8))
    with pytest.raises(DataError, match=r"A test process crashed \(SIGABRT\) while it was testing number 1"):
        list(spawned(aborted, 3))
    with pytest.raises(DataError, match="five is refused"):
        list(spawned(refused, 8))
    assert multiprocessing.active_children() == []


def test_a_signal_stops_spawned_processes_in_the_middle_of_a_task() -> None:
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 4.0)
    start = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(spawned(sleeping_long, 4))
    finally:
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - start < 5
    assert multiprocessing.active_children() == []


PARENT = """
import os, sys, time
from vjepa_world.data.loading.worker_pool import WorkerPool
def serve(task, failed, note):
    time.sleep(task)
    return os.getpid()
pool = WorkerPool(serve, 2, 10.0)
for worker in range(2):
    pool.submit(worker, 0)
    pool.submit(worker, 60)  # in the middle of which they are when the parent goes
print(pool.receive(), pool.receive(), flush=True)
time.sleep(60)
"""


def test_workers_exit_when_their_parent_is_killed() -> None:
    root = REPO
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    children = [int(word) for word in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.kill()
    parent.wait()
    for _ in range(30):
        if not any(is_running(child) for child in children):
            return
        time.sleep(0.1)
    raise AssertionError(f"{children} outlive their parent")


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


#: With processes that would look for their parent by its number after an hour alone.
SPAWNING_PARENT = """
import os, time
from vjepa_world.data.loading import worker_pool
def work(item):
    worker_pool._ALIVE_CHECK_S = 3600.0
    time.sleep(1.5)
    print(os.getpid(), flush=True)
    time.sleep(600)
if __name__ == "__main__":
    list(worker_pool.spawned_map(work, [1], 1, str, worker_pool.ProcessWording()))
"""


def test_spawned_processes_detect_at_once_that_their_parent_is_gone(tmp_path: Path) -> None:
    """A restarted recording must not conflict with files that an earlier one is still writing."""
    program = tmp_path / "parent.py"
    program.write_text(SPAWNING_PARENT)
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    parent = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def test_after_a_last_result_nothing_more_is_begun() -> None:
    found = spawned_map(abs, range(50), 2, str, WORDS, is_last=lambda result: result == 3)
    assert {0, 1, 2, 3} <= set(found) <= set(range(6))
