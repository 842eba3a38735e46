"""Simulated manipulation environments; needs mujoco, gymnasium and numpy only."""

from envs.rendering import configure_gl  # isort: skip  (first: it chooses the OpenGL backend)
from envs.arm_env import ArmEnv, Snapshot
from envs.behaviours.wander import Explorer
from envs.errors import EnvError
from envs.goal_states import GoalStates
from envs.listing import TaskSummary, list_factors, list_robots, list_tasks
from envs.registration import ENV_IDS, REACH_ID, register_envs
from envs.scenes.factors import Factor
from envs.scenes.sampling import sample
from envs.scenes.scene import ClutterSpec, Scene
from envs.scenes.variation import Variation
from envs.tasks import Draw, Goal, Policy, Reach, Status, Task

register_envs()

__all__ = [
    "ENV_IDS",
    "REACH_ID",
    "ArmEnv",
    "ClutterSpec",
    "Draw",
    "EnvError",
    "Explorer",
    "Factor",
    "Goal",
    "GoalStates",
    "Policy",
    "Reach",
    "Scene",
    "Snapshot",
    "Status",
    "Task",
    "TaskSummary",
    "Variation",
    "configure_gl",
    "list_factors",
    "list_robots",
    "list_tasks",
    "register_envs",
    "sample",
]
