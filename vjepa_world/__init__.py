"""Video world models that plan: the public API, flat and lazy.

Importing this package imports neither torch nor anything else that is heavy; each name below is loaded
when it is first used. It settles how the threads of a torch that is loaded later wait for each other.
"""

from __future__ import annotations

import importlib
from typing import Any

from vjepa_world.system.cpu import spin_briefly
from vjepa_world.system.packages import check_siblings

__version__ = "0.1.0"

spin_briefly()

_HOMES = {
    "EncoderConfig": "vjepa_world.models.config",
    "VJEPAWorldError": "vjepa_world.errors",
    "WorldModelConfig": "vjepa_world.models.config",
    "load_encoder": "vjepa_world.pretrained",
    "load_masked_predictor": "vjepa_world.pretrained",
    "load_world_model": "vjepa_world.pretrained",
    "save_pretrained": "vjepa_world.pretrained",
    "shipped_checkpoint": "vjepa_world.pretrained",
}

__all__ = [
    "EncoderConfig",
    "VJEPAWorldError",
    "WorldModelConfig",
    "__version__",
    "load_encoder",
    "load_masked_predictor",
    "load_world_model",
    "save_pretrained",
    "shipped_checkpoint",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'vjepa_world' has no attribute '{name}'; it has: {', '.join(_HOMES)}")
    try:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    except ImportError:
        check_siblings()
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
