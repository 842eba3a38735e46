"""Atomic writes: a file or a folder is complete under its name, or the old one is unchanged."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vjepa_world.errors import DataError


class WriteError(DataError):
    """A file could not be written: no space, no permission."""


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path next to `path`; it replaces `path` when the block ends, or is removed if it fails.

    The suffix stays, since writers choose the container by it. The name starts with a dot, so that a file which a
    killed process left is not taken for data.

    Raises:
        OSError: The block or the replacement failed, or the block left no file; it names `path`.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_symlink() or not temporary.is_file():
            raise OSError(errno.ENOENT, f"the file that was to be written, {temporary.name}, is not there")
        os.replace(temporary, path)
    except OSError as error:  # that of a failed write names no file
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # it is gone, or its folder is
            temporary.unlink()


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path as :func:`atomic_file` does.

    Raises:
        WriteError: The block or the replacement met an operating system error (a full disk, no permission), or the
            block left no file.
    """
    try:
        with atomic_file(path) as temporary:
            yield temporary
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> WriteError:
    """Return the error for a file that could not be written: which, why, and what to do."""
    reason = error.strerror or str(error)
    return WriteError(
        f"Cannot write {path}: {reason}. Expected a writable folder with free space; free some space on "
        f"that disk, or choose another folder, and run again. No partial file was left behind."
    )


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write a text file atomically, down to the disk.

    Raises:
        OSError: If the disk is full or the folder cannot be written; it names the file, which is unchanged.
    """
    with atomic_file(Path(path)) as temporary:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        if os.path.getsize(temporary) < len(text):
            raise OSError(errno.EIO, "fewer bytes are on the disk than were written")


def write_json_atomic(path: str | Path, data: Any) -> None:
    """Write JSON as `write_text_atomic` does; dataclasses are written as objects.

    Raises:
        ValueError: If a number is not finite, which JSON cannot express.
    """
    plain = (
        dataclasses.asdict(data) if dataclasses.is_dataclass(data) and not isinstance(data, type) else data
    )
    write_text_atomic(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """Yield a hidden temporary folder next to `folder`; it replaces `folder` when the block ends, or is removed.

    Raises:
        OSError: The temporary folder cannot be made or moved.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        temporary.chmod(0o755)
        yield temporary
        if not folder.exists():
            temporary.rename(folder)
            return
        old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
        folder.rename(old)
        try:
            temporary.rename(folder)
        except BaseException:
            old.rename(folder)
            raise
        shutil.rmtree(old)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
