"""The checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path


def shipped_checkpoint() -> Path:
    """Return its folder: a small world model of `vjepa_world/Reach-v0`; `config.json` says how it was made."""
    return Path(__file__).parents[1] / "assets" / "reach"
