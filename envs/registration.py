"""Registers the environments with Gymnasium.

Gymnasium 1.x loads no plugins from entry points: an environment is available once its package is imported, by
`import envs`, or in one call by `gymnasium.make("envs:vjepa_world/Reach-v0")`.
"""

from __future__ import annotations

import gymnasium

REACH_ID = "vjepa_world/Reach-v0"


def register_envs() -> None:
    """Register every environment of this package; calling it again has no effect."""
    if REACH_ID not in gymnasium.registry:
        gymnasium.register(id=REACH_ID, entry_point="envs.tasks.reach:ReachEnv")
