"""How much memory there is, and the refusal of what cannot fit into it, before anything of it is allocated.

Linux grants more memory than it has, and kills the process that then uses it: without this there would be no error to
report. Only lower bounds are compared, so what passes may still be too much.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from vjepa_world.errors import ConfigError

_GB = 1e9

_MEMINFO = Path("/proc/meminfo")

#: Limits of a container, of both versions of control groups.
_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def refuse_beyond_memory(num_bytes: float, what: str, advice: str) -> None:
    """Refuse what needs more memory than this process can get now.

    Args:
        num_bytes: What it needs at least.
        what: What needs it, for the message.
        advice: What to do, for the message.

    Raises:
        ConfigError: If it is more.
    """
    most = free_memory()
    if most is not None and num_bytes > most:
        raise ConfigError(
            f"{what} need at least {num_bytes / _GB:.4g} GB of memory, and {most / _GB:.4g} GB are free; {advice}."
        )


def free_memory() -> int | None:
    """Return the memory that this process can still get [bytes], swap included; None where that is not known."""
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
    ):  # another system than Linux, which tells the whole alone
        if "SC_PHYS_PAGES" in os.sysconf_names:
            yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _limits_of_the_container() -> Iterator[int]:
    for path in _LIMITS:
        try:
            yield int(path.read_text(encoding="ascii"))
        except (OSError, ValueError):  # there is none, or it says "max"
            continue
