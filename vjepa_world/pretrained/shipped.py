"""The checkpoint that comes with the package."""

from __future__ import annotations

from pathlib import Path


def shipped_checkpoint() -> Path:
    """Return the folder of the shipped world model for Reach; its `config.json` says how it was made."""
    return Path(__file__).parents[1] / "assets" / "reach"
