"""The checkpoints that come with the package."""

from __future__ import annotations

from pathlib import Path

from vjepa_world.errors import ConfigError, nearest

#: Folder of each shipped world model, by the word that stands for it where a checkpoint is asked for.
SHIPPED_MODELS = {"shipped": "reach", "shipped-objects": "objects"}


def shipped_checkpoint(name: str = "shipped") -> Path:
    """Return the folder of a shipped world model; its `config.json` says how it was made.

    Args:
        name: "shipped", for Reach from one camera, or "shipped-objects", for tasks with an object from two.

    Raises:
        ConfigError: If no model of this name is shipped.
    """
    if name not in SHIPPED_MODELS:
        raise ConfigError(f"no model '{name}' is shipped; {nearest(name, tuple(SHIPPED_MODELS))}")
    return Path(__file__).parents[1] / "assets" / SHIPPED_MODELS[name]


def checkpoint_path(checkpoint: str | Path) -> str | Path:
    """Return where a checkpoint is: the folder of a shipped one for its name, others as they are given."""
    return shipped_checkpoint(checkpoint) if checkpoint in SHIPPED_MODELS else checkpoint
