"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vjepa_world.errors import DataError


class WriteError(DataError):
    """A file could not be written: no room, no permission."""


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary path beside `path`; it replaces `path` when the block ends well, else it is removed.

    The suffix is kept, since writers choose the container by it, and the name starts with a dot, so that a file
    left by a killed process is not taken for data.

    Raises:
        WriteError: the block or the final move met an operating system error (a full disk, no permission), or the
            block left no file.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if temporary.is_symlink() or not temporary.is_file():
            raise OSError(f"the file that was to be written, {temporary.name}, is not there")
        os.replace(temporary, path)
    except OSError as error:
        raise write_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):  # there is none, or its folder is none
            temporary.unlink()


def write_error(path: Path, error: OSError) -> WriteError:
    """Return the error for a file that could not be written: which, why, and what to do."""
    reason = error.strerror or str(error)
    return WriteError(
        f"Cannot write {path}: {reason}. Expected a writable folder with free space; free some space on "
        f"that disk, or choose another folder, and run again. Nothing half-written was kept."
    )
