"""Size limits of feature caches: leases on caches in use, eviction of the least recently used, and the disk check.

A cache is a folder with a file :data:`LAST_USE`. Its modification time is the time of the last use, and processes that
use the cache hold a shared lock on it (flock). Only folders with this file are counted or removed.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import shutil
import time
import weakref
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from vjepa_world.errors import ConfigError, DataError
from vjepa_world.files.atomic import write_error

logger = logging.getLogger(__name__)

LAST_USE, BUILDING = "last_use", "building"

_GB = 1e9
_MOST_TRIES = 100  # to lock a cache that others are removing


class Lease:
    """Protects a cache from eviction until it is closed or garbage-collected; several processes may hold one.

    Args:
        folder: The cache.
        create: Create the folder if it is missing.

    Raises:
        DataError: There is no such folder, or it cannot be written.
    """

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        self.folder = folder
        try:
            self._close = weakref.finalize(self, os.close, _lock_shared(folder, create))
        except FileNotFoundError as error:
            raise DataError(
                f"{folder} holds no features: there is no such folder. Build them first."
            ) from error
        except OSError as error:
            raise write_error(folder, error) from error

    def close(self) -> None:
        """Release it."""
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock_shared(folder: Path, create: bool) -> int:
    """Return a file descriptor that holds the shared lock; set the time of the last use."""
    path = folder / LAST_USE
    for _ in range(_MOST_TRIES):
        if create:
            folder.mkdir(parents=True, exist_ok=True)
        # Another user's cache may be readable only; then its time stays.
        writable = os.access(path if path.exists() else folder, os.W_OK)
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT if writable else os.O_RDONLY, 0o644)
        except FileNotFoundError:
            if create and not folder.exists():  # removed at this moment
                continue
            raise
        fcntl.flock(handle, fcntl.LOCK_SH)
        # The evicting process holds the lock while it removes the cache: the file may be gone by now.
        if _is_at(handle, path):
            if writable:
                now = time.time_ns()  # the kernel's own clock has a resolution of milliseconds
                os.utime(handle, ns=(now, now))
            return handle
        os.close(handle)
    raise OSError(errno.EBUSY, "other runs remove it repeatedly", str(folder))


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def build_lock(folder: Path) -> Iterator[None]:
    """Let one run at a time compute the features in `folder`; others log that they wait."""
    with ExitStack() as opened:
        try:
            lock = opened.enter_context(open(folder / BUILDING, "w"))
        except OSError as error:
            raise write_error(folder, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            logger.info("another run computes the features in %s; waiting for it", folder)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def evict_caches(folder: Path, needed_bytes: int, limit_gb: float) -> list[Path]:
    """Remove the least recently used caches next to `folder` until all caches fit the limit.

    Args:
        folder: The cache that is to be filled; it is not removed.
        needed_bytes: Its size when filled.
        limit_gb: Largest size of all caches together [10^9 bytes].

    Returns:
        The removed folders; each is logged.

    Raises:
        ConfigError: This cache alone exceeds the limit.
        DataError: The remaining caches are in use or another user's, or one cannot be removed.
    """
    allowed = limit_gb * _GB
    if needed_bytes > allowed:
        raise ConfigError(
            f"the features in {folder} take {format_bytes(needed_bytes)}, and limit_gb={limit_gb:g} allows less for "
            "all caches together; raise it, or keep fewer tokens, cameras or thumbnails."
        )
    sizes = {cache: size_bytes(cache) for cache in caches(folder.parent) if cache != folder}
    total, removed, kept = needed_bytes + sum(sizes.values()), [], []
    for cache, size in sizes.items():
        if total <= allowed:
            break
        if not _remove(cache):
            kept.append(cache)
            continue
        logger.info(
            "removed %s (%s), the least recently used: limit_gb=%g", cache, format_bytes(size), limit_gb
        )
        removed.append(cache)
        total -= size
    if total > allowed:
        raise DataError(
            f"caches in {folder.parent} would take {format_bytes(total)}, limit_gb={limit_gb:g} allows less, and what "
            f"is left is in use, or another user's: {', '.join(path.name for path in kept)}. Wait, or raise limit_gb."
        )
    return removed


def check_disk(folder: Path, needed_bytes: int) -> None:
    """Check that the disk of `folder`, whose parent exists, has enough free space.

    Raises:
        DataError: It has less than `needed_bytes`.
    """
    free = shutil.disk_usage(folder.parent).free
    if needed_bytes > free:
        others = sum(size_bytes(cache) for cache in caches(folder.parent) if cache != folder)
        raise DataError(
            f"the features in {folder} need {format_bytes(needed_bytes)} more, and its disk has {format_bytes(free)} "
            f"free. Free some (other caches in {folder.parent}: {format_bytes(others)}), choose another folder for the "
            "cache, or keep fewer tokens, cameras or thumbnails."
        )


def caches(root: Path) -> list[Path]:
    """Return the caches in `root`, the least recently used first."""
    used: dict[Path, int] = {}
    for folder in root.iterdir() if root.is_dir() else ():
        try:
            used[folder] = (folder / LAST_USE).stat().st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sorted(used, key=lambda folder: (used[folder], folder.name))


def size_bytes(folder: Path) -> int:
    """Return the size of a folder's files [bytes]; files that vanish meanwhile do not count."""
    total = 0
    for directory, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_size
            except FileNotFoundError:
                continue
    return total


def format_bytes(count: int | float) -> str:
    """Return a number of bytes as text in GB or MB."""
    return f"{count / _GB:.2f} GB" if count >= _GB / 100 else f"{count / 1e6:.2f} MB"


def _remove(cache: Path) -> bool:
    """Remove a cache; return False if it is in use, or another user's.

    Raises:
        DataError: It cannot be removed.
    """
    if not os.access(cache / LAST_USE, os.W_OK) and cache.exists():
        return False
    try:
        with open(cache / LAST_USE, "r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(cache)
    except BlockingIOError:
        return False
    except FileNotFoundError:  # another process was faster
        return True
    except OSError as error:
        raise DataError(
            f"{cache} is the least recently used cache and cannot be removed ({error}). Remove it by hand, or raise "
            "limit_gb."
        ) from error
    return True
