"""Standard output and error that may be closed or have lost their reader."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TextIO

#: Errors of writing without a reader: a broken pipe, a terminal that hung up.
_GONE = (errno.EPIPE, errno.EIO, errno.ESHUTDOWN, errno.ECONNRESET)


def open_standard_streams() -> None:
    """Open standard streams that are closed (`>&-`, a daemon) on the null device, and make any text writable.

    Otherwise the next opened file would get the descriptor of a standard stream, and prints would write into it.
    Characters that the stream's encoding does not have are written as escapes.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            # Stays open as long as the process, as standard streams do.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def lost_reader(error: OSError) -> bool:
    """Return whether standard output or error lost its reader (`vjepa-world ... | head`), not any other pipe."""
    return error.errno in _GONE and error.filename is None and any(map(_is_broken, (sys.stdout, sys.stderr)))


def silence_broken_streams() -> None:
    """Redirect broken streams to the null device; otherwise Python would report an error at exit."""
    for stream in (sys.stdout, sys.stderr):
        if _is_broken(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_broken(stream: TextIO) -> bool:
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # a text stream in memory
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))
