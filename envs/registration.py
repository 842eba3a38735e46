"""Registers the environments with Gymnasium.

Gymnasium 1.x loads no plugins from entry points: an environment is available once its package is imported, by
`import envs`, or in one call by `gymnasium.make("envs:vjepa_world/Reach-v0")`.
"""

from __future__ import annotations

from typing import Final

import gymnasium

REACH_ID: Final = "vjepa_world/Reach-v0"
#: The Gymnasium id of each task.
ENV_IDS: Final = {
    "reach": REACH_ID,
    "push": "vjepa_world/Push-v0",
    "grasp": "vjepa_world/Grasp-v0",
    "reach_with_object": "vjepa_world/ReachWithObject-v0",
    "pick_place": "vjepa_world/PickPlace-v0",
}


def register_envs() -> None:
    """Register every environment of this package; calling it again has no effect."""
    for task, env_id in ENV_IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(id=env_id, entry_point="envs.arm_env:ArmEnv", kwargs={"task": task})
