"""Simulated manipulation environments; needs mujoco, gymnasium and numpy only."""

from envs.rendering import configure_gl  # isort: skip  (first: it chooses the OpenGL backend)
from envs.arm_env import ArmEnv, Snapshot
from envs.errors import EnvError
from envs.exploration import Explorer
from envs.registration import ENV_IDS, REACH_ID, register_envs
from envs.tasks import Draw, Goal, Policy, Reach, Status, Task
from envs.variation import ClutterSpec, Scene, Variation, sample

register_envs()

__all__ = [
    "ENV_IDS",
    "REACH_ID",
    "ArmEnv",
    "ClutterSpec",
    "Draw",
    "EnvError",
    "Explorer",
    "Goal",
    "Policy",
    "Reach",
    "Scene",
    "Snapshot",
    "Status",
    "Task",
    "Variation",
    "configure_gl",
    "register_envs",
    "sample",
]
