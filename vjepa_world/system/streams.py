"""Standard output and error that may be closed, or have lost their reader."""

from __future__ import annotations

import errno
import os
import select
import sys
from typing import TextIO

#: What writing meets where nobody reads any more: a pipe without a reader, a terminal that hung up.
_GONE = (errno.EPIPE, errno.EIO, errno.ESHUTDOWN, errno.ECONNRESET)


def open_standard_streams() -> None:
    """Give a process that was started with closed streams (`>&-`, a daemon) empty ones, and let any text be written.

    Else the next file that is opened would get the number of a standard stream, and be written into by whoever prints.
    A letter that the stream's encoding does not have is written as an escape.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for name in ("stdout", "stderr"):
        stream: TextIO | None = getattr(sys, name)
        if stream is None or stream.closed:
            # Stays open as long as the process, as standard streams do.
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure") and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="backslashreplace")


def lost_reader(error: OSError) -> bool:
    """Tell `vjepa-world ... | head` from any other broken pipe, such as that to a worker that died."""
    return error.errno in _GONE and error.filename is None and any(map(_is_broken, (sys.stdout, sys.stderr)))


def silence_broken_streams() -> None:
    """Let what is still to be written go nowhere; Python would complain again when it flushes on the way out."""
    for stream in (sys.stdout, sys.stderr):
        if _is_broken(stream):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _is_broken(stream: TextIO) -> bool:
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # a stream of text in memory
        return False
    poll = select.poll()
    poll.register(number, 0)
    return any(event & (select.POLLERR | select.POLLHUP | select.POLLNVAL) for _, event in poll.poll(0))
