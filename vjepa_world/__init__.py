"""Video world models that plan: the public API, flat and lazy.

Importing this package imports neither torch nor anything else that is heavy. The public names are listed in
`__init__.pyi`, where editors and type checkers read them; each is imported when it is first used.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import re
from pathlib import Path
from typing import Any

from vjepa_world.system.cpu import spin_briefly
from vjepa_world.system.packages import check_siblings

__version__ = "0.1.0"

spin_briefly()


@functools.cache
def _modules() -> dict[str, str]:
    """Return the module of each public name."""
    stub = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    found = re.findall(r"^from (\S+) import (\w+) as \2$", stub, re.MULTILINE)
    return {name: module for module, name in found}


def __getattr__(name: str) -> Any:
    if name == "__all__":
        return [*_modules(), "__version__"]
    if name not in _modules():
        close = [f"did you mean '{word}'? " for word in difflib.get_close_matches(name, _modules(), n=1)]
        raise AttributeError(
            f"module 'vjepa_world' has no attribute '{name}'; {''.join(close)}it has: {', '.join(sorted(_modules()))}"
        )
    try:
        value = getattr(importlib.import_module(_modules()[name]), name)
    except ImportError:
        check_siblings()
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*(name for name in globals() if name.startswith("__")), *_modules()})
