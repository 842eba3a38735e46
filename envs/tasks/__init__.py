"""Tasks: what an episode asks of the arm."""

from envs.tasks.base import Draw, Goal, Policy, Status, Task
from envs.tasks.grasp import Grasp
from envs.tasks.object_task import ObjectTask
from envs.tasks.pick_place import PickPlace
from envs.tasks.push import Push
from envs.tasks.reach import Reach
from envs.tasks.reach_with_object import ReachWithObject

#: The tasks of this package by their short names.
TASKS: dict[str, type[Task]] = {task.name: task for task in (Reach, Push, Grasp, ReachWithObject, PickPlace)}

__all__ = [
    "TASKS",
    "Draw",
    "Goal",
    "Grasp",
    "ObjectTask",
    "PickPlace",
    "Policy",
    "Push",
    "Reach",
    "ReachWithObject",
    "Status",
    "Task",
]
