"""Exclusive use of a folder by one process: a lock that the kernel releases whenever its owner ends."""

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

#: Errors of a file system without locks.
_UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class FolderInUseError(VJEPAWorldError):
    """Another process uses the folder."""


@dataclass(frozen=True)
class Owner:
    """The process that holds a lock, as recorded in the lock file.

    Attributes:
        pid: Process id.
        host: Host name.
        since: Local time at which it took the lock.
        started: Start time of the process in clock ticks since boot; 0 if unknown.
        job: Slurm job id, which a requeued job keeps.
    """

    pid: int
    host: str
    since: str
    started: int = 0
    job: str = ""

    @classmethod
    def this_process(cls) -> Owner:
        """Return this process as an owner."""
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
        """Return whether the process may still run; on another host it may, unless this is the same job, requeued."""
        if self.host != socket.gethostname():
            return not (self.job and self.job == os.environ.get("SLURM_JOB_ID"))
        started = _start_ticks(self.pid)
        if started:  # process ids are reused
            return self.started in (0, started)
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


def locked_folder(folder: Path) -> contextlib.AbstractContextManager[None]:
    """Hold an existing folder's lock during the block; fail at once if another process holds it.

    The lock (flock on `.lock`) belongs to the open file, so it ends with its process, also after SIGKILL; forked
    children do not inherit it. The file records the owner and is removed with the lock. On a file system without locks,
    the content of the file decides: it is valid as long as the recorded process may live.

    Raises:
        FolderInUseError: If another process holds it.
        OSError: If the folder cannot be written.
    """
    return _locked(folder / LOCK_FILE, folder)


def refuse_visibly_locked(folder: Path) -> None:
    """Fail early if a folder's lock file names another live process of this host; `locked_folder` is authoritative.

    No lock is taken, so no other process is refused because of this check.

    Raises:
        FolderInUseError: If there is such a process.
    """
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return  # taking the lock will report the problem
    try:
        owner = _owner(descriptor)
    finally:
        os.close(descriptor)
    # The start time distinguishes it from a later process with the same id.
    if owner is None or not owner.started or owner.host != socket.gethostname() or owner.pid == os.getpid():
        return
    if owner.may_live():
        raise _in_use(folder, owner)


@contextlib.contextmanager
def locked_output(target: Path) -> Iterator[None]:
    """Hold the lock of a file or folder that does not exist yet; the lock file lies next to it.

    Raises:
        FolderInUseError: If another process writes it.
        OSError: If its parent folder cannot be created or written.
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
        # The name goes first: a process that opens the file afterwards creates a new one. A leftover file is harmless.
        with contextlib.suppress(OSError):
            path.unlink()
        _held.discard(handle)
        handle.close()


class _Handle:
    """An open lock file; closed in forked children, which would otherwise keep the lock of a dead parent."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._close = weakref.finalize(self, os.close, descriptor)

    def close(self) -> None:
        """Release the lock."""
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
        if _is_at(handle.descriptor, path):  # otherwise its owner removed it between the two calls
            _write_owner(handle.descriptor)
            return handle
        handle.close()


def _refuse_living(path: Path, what: Path, owner: Owner | None) -> None:
    """Decide by the content of the lock file, on a file system without locks."""
    logger.warning(
        "the file system of %s does not support locks: two processes that start at the same moment are not detected",
        what,
    )
    if owner is not None and owner.may_live():
        raise _in_use(what, owner, f" If that process has ended, remove {path}.")


def _in_use(what: Path, owner: Owner | None, hint: str = "") -> FolderInUseError:
    who = owner or "another process"
    return FolderInUseError(
        f"{what} is in use by {who}: wait until it ends, or choose another name or folder.{hint}"
    )


def _owner(descriptor: int, patience_s: float = 0.0) -> Owner | None:
    """Return the owner recorded in the file, waiting up to `patience_s` for it to be written; None without one."""
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
    """Return the start time of a process in clock ticks since boot; 0 if unknown or if there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return int(stat.rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return 0
