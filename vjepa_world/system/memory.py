"""The free memory, and the refusal of work that cannot fit into it before anything is allocated.

Linux grants more memory than it has, and kills the process that uses it: without this check there would be no error
message. Only lower bounds are compared, so work that passes may still need too much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vjepa_world.errors import ConfigError

_GB = 1e9

_MEMINFO = Path("/proc/meminfo")

#: Memory limits of a container, for both versions of control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def refuse_beyond_memory(num_bytes: float, what: str, advice: str) -> None:
    """Refuse work that needs more memory than this process can get now.

    Args:
        num_bytes: Lower bound of the memory needed [bytes].
        what: What needs it, for the message.
        advice: What to do, for the message.

    Raises:
        ConfigError: If more is needed than is free.
    """
    most = free_memory()
    if most is not None and num_bytes > most:
        raise ConfigError(
            f"{what} need at least {num_bytes / _GB:.4g} GB of memory, and {most / _GB:.4g} GB are free; {advice}."
        )


def free_memory() -> int | None:
    """Return the memory that this process can still get [bytes], including swap; None if unknown."""
    return min([*_free_of_the_system(), *_limits_of_the_container()], default=None)


def _free_of_the_system() -> Iterator[int]:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
        sizes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        yield 1024 * (sizes["MemAvailable"] + sizes["SwapFree"])
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
    ):  # not Linux: only the total memory is known
        if "SC_PHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _limits_of_the_container() -> Iterator[int]:
    for path in _LIMITS:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # no such file, or "max"
            continue
