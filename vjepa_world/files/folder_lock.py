"""One process at a time in a folder: a lock that the kernel releases, however its owner ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
import weakref
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from vjepa_world.errors import VJEPAWorldError

logger = logging.getLogger(__name__)

LOCK_FILE = ".lock"

#: What a file system without locks answers.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderInUseError(VJEPAWorldError):
    """Another process works in the folder."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as its file says.

    Attributes:
        pid: Process number.
        host: Name of its machine.
        since: Local time at which it took the lock.
        started: When it began, in the kernel's clock ticks since boot; 0 where that is not known.
        job: Number of its Slurm job; a job that is requeued keeps it.
    """

    pid: int
    host: str
    since: str
    started: int = 0
    job: str = ""

    @classmethod
    def this_process(cls) -> Owner:
        """Return the owner that this process is."""
        return cls(
            pid=os.getpid(),
            host=socket.gethostname(),
            since=datetime.now().strftime("%Y-%m-%d %H:%M:%S"),
            started=_start_ticks(os.getpid()),
            job=os.environ.get("SLURM_JOB_ID", ""),
        )

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"

    def may_live(self) -> bool:
        """Say whether the process may still run; one on another machine may, unless it is this job requeued."""
        if self.host != socket.gethostname():
            return not (self.job and self.job == os.environ.get("SLURM_JOB_ID"))
        started = _start_ticks(self.pid)
        if started:  # a number is given to another process in time
            return self.started in (0, started)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def locked_folder(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold an existing folder's lock as long as the block lasts; refuse at once where another process holds it.

    The lock (flock on `.lock`) belongs to the open file, so it ends with the process that took it, also by SIGKILL;
    children that are forked do not inherit it. The file says who holds it, and is removed with the lock. On a file
    system without locks the file alone decides: it counts for as long as the process that it names may live.

    Raises:
        FolderInUseError: If another process holds it.
        OSError: If the folder cannot be written.
    """
    return _locked(folder / LOCK_FILE, folder)


def refuse_visibly_locked(folder: Path) -> None:
    """Refuse early a folder whose lock names another living process of this machine; `locked_folder` decides.

    Nothing is locked, so that nobody else is refused for it meanwhile.

    Raises:
        FolderInUseError: If there is such a process.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return  # taking the lock says what is wrong
    try:
        owner = _owner(descriptor)
    finally:
        os.close(descriptor)
    # Its time of beginning tells it from a later process that was given the same number.
    if owner is None or not owner.started or owner.host != socket.gethostname() or owner.pid == os.getpid():
        return
    if owner.may_live():
        raise _in_use(folder, owner)


@contextlib.contextmanager
def locked_output(target: Path) -> Iterator[None]:
    """Hold the lock of a file or folder that is yet to be written, as `locked_folder` does; it lies next to it.

    Raises:
        FolderInUseError: If another process writes it.
        OSError: If the folder around it cannot be made or written.
    """
    whole = Path(os.path.abspath(target))  # "." and "a/.." have no name of their own
    whole.parent.mkdir(parents=True, exist_ok=True)
    with _locked(whole.parent / f".{whole.name}{LOCK_FILE}", target):
        yield


@contextlib.contextmanager
def _locked(path: Path, what: Path) -> Iterator[None]:
    handle = _acquire(path, what)
    _held.add(handle)
    try:
        yield
    finally:
        # First the name: whoever opens the file afterwards makes a new one. A file that stays does no harm.
        with contextlib.suppress(OSError):
            path.unlink()
        _held.discard(handle)
        handle.close()


class _Handle:
    """An open lock file; closed in forked children, which would else keep the lock of a dead parent."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Let go of the lock."""
        self._close()


_held: set[_Handle] = set()


def _close_all() -> None:
    for handle in list(_held):
        handle.close()
    _held.clear()


os.register_at_fork(after_in_child=_close_all)


def _acquire(path: Path, what: Path) -> _Handle:
    while True:
        handle = _Handle(os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            fcntl.flock(handle.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise _in_use(what, _owner(handle.descriptor, patience_s=0.5)) from error
            if error.errno not in _UNSUPPORTED:
                raise
            _refuse_living(path, what, _owner(handle.descriptor))
        if _is_at(handle.descriptor, path):  # else its owner removed it between the two calls
            _write_owner(handle.descriptor)
            return handle
        handle.close()


def _refuse_living(path: Path, what: Path, owner: Owner | None) -> None:
    """Decide by the file alone, where the file system has no locks."""
    logger.warning(
        "the file system of %s has no locks: of two processes that start there in the same moment, neither is refused",
        what,
    )
    if owner is not None and owner.may_live():
        raise _in_use(what, owner, f" If that process has ended, remove {path}.")


def _in_use(what: Path, owner: Owner | None, hint: str = "") -> FolderInUseError:
    who = owner or "another process"
    return FolderInUseError(
        f"{what} is in use by {who}: wait until it ends, or give another name or folder.{hint}"
    )


def _owner(descriptor: int, patience_s: float = 0.0) -> Owner | None:
    """Return who the file names; None where it names nobody, also after as long as its owner takes to write it."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return Owner(**json.loads(os.pread(descriptor, 4096, 0)))
        except (ValueError, TypeError):
            if time.monotonic() >= deadline:
                return None
            time.sleep(0.02)


def _write_owner(descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(asdict(Owner.this_process())).encode(), 0)


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _start_ticks(pid: int) -> int:
    """Return when a process began, as Linux counts; 0 where it is not known, or there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
