"""Runs commands in separate processes, single ones or the ranks of a data-parallel training, and kills them."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.paths import REPO

#: Longer than any of these takes; a process that hangs is a failure.
TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Finished:
    """Exit code and output of a finished process."""

    code: int
    out: str
    error: str


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def start(
    words: Sequence[str], home: Path, world_size: int = 1, *, file_limit_kb: int = 0, **environment: str
) -> list[subprocess.Popen[str]]:
    """Start `python WORDS` in folder `home`, `world_size` times, each with the environment variables of torchrun.

    With `file_limit_kb` no file can grow larger, which simulates a full disk.
    """
    port = free_port()

    def limit() -> None:
        if file_limit_kb:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit_kb << 10, file_limit_kb << 10))

    started = []
    for rank in range(world_size):
        ranks: dict[str, str] = {}
        if world_size > 1:
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world_size)}
            ranks |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        started.append(
            subprocess.Popen(
                [sys.executable, *words],
                cwd=home,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join([str(REPO), *filter(None, [os.environ.get("PYTHONPATH")])]),
                    "OMP_NUM_THREADS": "1",
                    "CUDA_VISIBLE_DEVICES": "",
                    **ranks,
                    **environment,
                },
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                # pytest's own Ctrl-C must not reach them, and theirs not pytest.
                start_new_session=True,
                preexec_fn=limit,
            )
        )
    return started


def wait(started: Sequence[subprocess.Popen[str]]) -> list[Finished]:
    """Wait until all processes have finished; they are killed after `TIMEOUT_S`."""
    deadline = time.monotonic() + TIMEOUT_S
    finished = []
    try:
        for process in started:
            out, error = process.communicate(timeout=max(deadline - time.monotonic(), 0.1))
            finished.append(Finished(process.returncode, out, error))
    finally:
        for process in started:
            kill(process, signal.SIGKILL)
    return finished


def kill(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal to a process and all that it started, if it still runs."""
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def start_command(words: Sequence[str], home: Path, world_size: int = 1) -> list[subprocess.Popen[str]]:
    """Start a command as the command line does."""
    return start(["-m", "vjepa_world", *words], home, world_size)


def wait_for_success(started: Sequence[subprocess.Popen[str]]) -> list[Finished]:
    """Wait until all processes have finished; fail unless every exit code is 0."""
    finished = wait(started)
    assert [one.code for one in finished] == [0] * len(finished), "\n".join(
        one.error[-2000:] for one in finished
    )
    return finished


def start_all(commands: Sequence[Sequence[str]], home: Path, world_size: int) -> list[subprocess.Popen[str]]:
    """Start running several commands, one after the other, in the same processes: torch is imported once."""
    ports = [free_port() for _ in commands]
    jobs = json.dumps(list(zip(ports, commands, strict=True)))
    return start(["-m", "tests.training.processes", jobs], home, world_size)


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> bool:
    """Wait until a condition holds; return False if the process ends first."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < deadline, f"the condition did not hold within {TIMEOUT_S:g} s"
        time.sleep(0.002)
    return True


def _run_all(jobs: list[tuple[int, list[str]]]) -> None:
    from vjepa_world.cli.main import main

    for port, words in jobs:
        os.environ["MASTER_PORT"] = str(port)
        code = main(words)
        if code:
            sys.exit(code)


if __name__ == "__main__":
    _run_all(json.loads(sys.argv[1]))
