"""Progress is a bar on a terminal and plain lines elsewhere, and never stops the work."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys

import pytest

from tests.paths import REPO
from vjepa_world.system import progress as module
from vjepa_world.system.progress import progress, say, track


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return a clock that stands still unless its one entry is changed."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_half_minute_and_the_last_one(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress("pretrain", unit="step", total=1000, initial=100) as bar:
        for _ in range(900):
            clock[0] += 0.1
            bar.set_postfix({"loss": "0.5"})
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        "pretrain: 400 of 1000 steps in 0:00:30, 10 per second, 0:01:00 to go, loss 0.5",
        "pretrain: 700 of 1000 steps in 0:01:00, 10 per second, 0:00:30 to go, loss 0.5",
        "pretrain: 1000 of 1000 steps in 0:01:30, 10 per second, loss 0.5",
    ]


def test_without_a_total_no_remaining_time_is_shown(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = progress("convert", unit="episode")
    clock[0] = 45
    bar.update(90)
    bar.reset(4)
    clock[0] = 3700
    bar.update(2)
    bar.close()
    bar.close()
    bar = progress("scan", unit="file")
    clock[0] += 10
    bar.update(318_612)
    bar.close()
    assert capsys.readouterr().err.splitlines() == [
        "convert: 90 episodes in 0:00:45, 2 per second",
        "convert: 2 of 4 episodes in 1:00:55, 0.000547 per second, 1:00:55 to go",
        "scan: 318612 files in 0:00:10, 31,900 per second",
    ]


def test_short_work_and_other_processes_show_nothing(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(track(range(3), "numbers", unit="episode", delay_s=2.0)) == [0, 1, 2]
    with progress("pretrain", unit="step", total=2, disable=True) as bar:
        clock[0] = 100
        bar.update(2)
    assert capsys.readouterr().err == ""
    assert list(track([5], "numbers", unit="episode")) == [5]
    assert capsys.readouterr().err == "numbers: 1 of 1 episode in 0:00:00\n"


class ClosedStream(io.StringIO):
    """A stream whose reader has closed it."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@pytest.mark.parametrize("kind", ["gone", "closed", "none"])
def test_a_closed_stream_does_not_stop_the_work(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream: io.StringIO | None = {"gone": ClosedStream(), "closed": io.StringIO(), "none": None}[kind]
    if kind == "closed" and stream is not None:
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track(range(3), "numbers", unit="episode")) == [0, 1, 2]
    say("saved")


def test_a_terminal_gets_a_bar() -> None:
    master, slave = pty.openpty()
    code = (
        "from vjepa_world.system.progress import track, say\n"
        "for _ in track(range(3), 'numbers', unit='episode'): say('a line')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stderr=slave, env={**os.environ, "PYTHONPATH": str(REPO)}, check=False
    )
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert done.returncode == 0
    assert "numbers: 100%" in shown
    assert shown.count("a line") == 3
    assert "\r" in shown
