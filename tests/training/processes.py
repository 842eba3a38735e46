"""Runs commands as processes of their own, one or several that train as one, and kills them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]

#: Longer than any of these takes; a process that hangs is a failure.
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Ended:
    """How a process ended, and what it said."""

    code: int
    out: str
    error: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def begin(
    words: Sequence[str], home: Path, world_size: int = 1, **environment: str
) -> list[subprocess.Popen[str]]:
    """Begin `python WORDS` in folder `home`, `world_size` times, with what torchrun tells each of them."""
    port = free_port()
    started = []
    for rank in range(world_size):
        place = {} if world_size == 1 else {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world_size}
        place |= {} if world_size == 1 else {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        started.append(
            subprocess.Popen(
                [sys.executable, *words],
                cwd=home,
                env={
                    **os.environ,
                    "PYTHONPATH": str(REPO),
                    "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                    **{name: str(value) for name, value in place.items()},
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # pytest's own Ctrl-C must not reach them, and theirs not pytest.
                start_new_session=True,
            )
        )
    return started


def end(started: Sequence[subprocess.Popen[str]]) -> list[Ended]:
    """Wait for all of them; none outlives `TIMEOUT_S`."""
    deadline = time.monotonic() + TIMEOUT_S
    ended = []
    try:
        for process in started:
            out, error = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
            ended.append(Ended(process.returncode, out, error))
    finally:
        for process in started:
            kill(process, signal.SIGKILL)
    return ended


def kill(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process and all that it started, if it still runs."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def command(words: Sequence[str], home: Path, world_size: int = 1) -> list[Ended]:
    """Run a verb to its end as the command line does."""
    ended = end(begin(["-m", "vjepa_world", *words], home, world_size))
    assert [one.code for one in ended] == [0] * world_size, "\n".join(one.error[-2000:] for one in ended)
    return ended


def when(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait until something is so; return False if the process ended before."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)
    return True
