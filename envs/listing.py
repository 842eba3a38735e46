"""What there is to choose from: tasks, robots and factors of variation."""

from __future__ import annotations

from dataclasses import dataclass

from envs.arm.robots import ROBOTS, Robot
from envs.registration import ENV_IDS
from envs.scenes.factors import FACTORS, Factor
from envs.tasks import TASKS


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """What a listing says of a task.

    Attributes:
        name: Its short name.
        id: Its Gymnasium id.
        summary: One line.
        max_steps: Actions in an episode.
        subgoals: Names of its sub-goals; the last is the goal.
    """

    name: str
    id: str
    summary: str
    max_steps: int
    subgoals: tuple[str, ...]


def list_tasks() -> tuple[TaskSummary, ...]:
    """Return the tasks of the arm."""
    return tuple(
        TaskSummary(
            name=name,
            id=ENV_IDS[name],
            summary=task.summary,
            max_steps=task.max_steps,
            subgoals=task.subgoals,
        )
        for name, task in TASKS.items()
    )


def list_robots() -> tuple[Robot, ...]:
    """Return the robots, installed or not."""
    return tuple(ROBOTS.values())


def list_factors() -> tuple[Factor, ...]:
    """Return the factors of variation; `factor.drawn(Variation.train())` says what one is drawn from."""
    return tuple(FACTORS.values())
