"""A folder has one owner at a time, and is released however that process ends."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.paths import REPO
from vjepa_world.files import folder_lock
from vjepa_world.files.folder_lock import (
    LOCK_FILE,
    FolderInUseError,
    Owner,
    locked_folder,
    locked_output,
    refuse_visibly_locked,
)

HOLD = """
import sys, time
from pathlib import Path
from vjepa_world.files.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path) -> subprocess.Popen[str]:
    """Start a process that holds a folder, and return once it does."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        env={**os.environ, "PYTHONPATH": str(REPO)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def is_free(folder: Path) -> bool:
    try:
        with locked_folder(folder):
            return True
    except FolderInUseError:
        return False


def test_a_second_process_is_refused_at_once_with_the_holder_of_the_lock(tmp_path: Path) -> None:
    process = holder(tmp_path)
    start_s = time.monotonic()
    with (
        pytest.raises(
            FolderInUseError, match=f"in use by process {process.pid} on {socket.gethostname()}, since 20"
        ),
        locked_folder(tmp_path),
    ):
        pass
    assert time.monotonic() - start_s < 0.4
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / LOCK_FILE).is_file()  # what a kill leaves
    assert is_free(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="no /proc to tell processes apart")
def test_a_folder_in_use_is_detected_without_taking_its_lock(tmp_path: Path) -> None:
    refuse_visibly_locked(tmp_path)  # nobody's
    process = holder(tmp_path)
    with pytest.raises(FolderInUseError, match=f"in use by process {process.pid}"):
        refuse_visibly_locked(tmp_path)
    process.kill()
    process.wait()
    assert (tmp_path / LOCK_FILE).is_file()
    refuse_visibly_locked(tmp_path)  # of a process that has ended
    with locked_folder(tmp_path):
        refuse_visibly_locked(tmp_path)  # one's own
    (tmp_path / LOCK_FILE).write_text("[]")
    refuse_visibly_locked(tmp_path)  # taking the lock decides


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    end = context.Event()
    with locked_folder(tmp_path):
        child = context.Process(target=end.wait)
        child.start()
        assert not is_free(tmp_path)
    assert is_free(tmp_path)
    end.set()
    child.join()
    assert child.exitcode == 0


def test_the_parent_keeps_the_lock_when_a_child_exits(tmp_path: Path) -> None:
    with locked_folder(tmp_path):
        child = multiprocessing.get_context("fork").Process(target=int)
        child.start()
        child.join()
        assert not is_free(tmp_path)
        assert json.loads((tmp_path / LOCK_FILE).read_text())["pid"] == os.getpid()


def test_an_output_is_locked_before_it_exists(tmp_path: Path) -> None:
    target = tmp_path / "new" / "dataset"
    with locked_output(target):
        assert not target.exists()
        with pytest.raises(FolderInUseError, match="dataset is in use"), locked_output(target):
            pass
        with locked_output(target.with_name("other")):
            pass
    assert list(target.parent.iterdir()) == []


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


def named(folder: Path, owner: Owner) -> None:
    (folder / LOCK_FILE).write_text(json.dumps(vars(owner)))


@pytest.mark.usefixtures("no_locks")
def test_without_lock_support_the_existence_of_the_file_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="vjepa_world")
    with locked_folder(tmp_path):
        assert "does not support locks" in caplog.text
        assert not is_free(tmp_path)  # this very process has it
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    here = socket.gethostname()
    named(tmp_path, Owner(pid=ended.pid, host=here, since="now"))
    assert is_free(tmp_path)
    named(
        tmp_path, Owner(pid=os.getpid(), host=here, since="now", started=1)
    )  # its number went to this process
    assert is_free(tmp_path)
    named(tmp_path, Owner(pid=1, host="elsewhere", since="now", job="7"))
    with pytest.raises(FolderInUseError, match=f"remove {tmp_path / LOCK_FILE}"), locked_folder(tmp_path):
        pass
    monkeypatch.setenv("SLURM_JOB_ID", "7")  # the same job, requeued
    assert is_free(tmp_path)


def test_a_lock_file_removed_meanwhile_is_recreated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner removes its file between another one's open and lock: that one must not hold a deleted file."""
    real = fcntl.flock
    calls: list[int] = []

    def flock(descriptor: int, operation: int) -> None:
        if not calls:
            (tmp_path / LOCK_FILE).unlink()
        calls.append(descriptor)
        real(descriptor, operation)

    monkeypatch.setattr(folder_lock.fcntl, "flock", flock)
    with locked_folder(tmp_path):
        assert len(calls) == 2
        assert (tmp_path / LOCK_FILE).is_file()
        assert not is_free(tmp_path)


@pytest.mark.parametrize("name", ["", ".", "sub/.."])
def test_a_destination_without_a_name_of_its_own_is_locked_like_any_other(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with locked_output(Path(name)), pytest.raises(FolderInUseError), locked_output(tmp_path / "here"):
        pass
