"""Tasks: what an episode asks of the arm."""

from envs.tasks.base import Draw, Goal, Policy, Status, Task
from envs.tasks.reach import Reach

#: The tasks of this package by their short names.
TASKS: dict[str, type[Task]] = {task.name: task for task in (Reach,)}

__all__ = ["TASKS", "Draw", "Goal", "Policy", "Reach", "Status", "Task"]
