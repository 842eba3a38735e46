"""Simulated manipulation environments; needs mujoco, gymnasium and numpy only."""

from envs.rendering import configure_gl  # isort: skip  (first: it chooses the OpenGL backend)
from envs.errors import EnvError
from envs.exploration import Explorer
from envs.registration import REACH_ID, register_envs
from envs.tasks.reach import ReachEnv
from envs.variation import ClutterSpec, Scene, Variation, sample

register_envs()

__all__ = [
    "REACH_ID",
    "ClutterSpec",
    "EnvError",
    "Explorer",
    "ReachEnv",
    "Scene",
    "Variation",
    "configure_gl",
    "register_envs",
    "sample",
]
