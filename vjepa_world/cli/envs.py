"""`envs`: list the tasks of the simulated arm, the robots, and the factors of variation."""

from __future__ import annotations

import json
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vjepa_world.system.packages import check_siblings

if TYPE_CHECKING:
    from envs.arm.robots import Robot

_GAP = "  "


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to print.

    Attributes:
        json: Whether to print JSON.
    """

    json: bool = False


def run(config: Config) -> None:
    """Print the lists."""
    check_siblings("envs")
    found = listing()
    if config.json:
        print(json.dumps(found, indent=2))
        return
    titles = {
        "tasks": "Tasks (env.id=, or env=NAME)",
        "robots": "Robots (env.kwargs.robot=)",
        "factors": 'Factors of variation (reset(options={"variation": {NAME: VALUE}}))',
    }
    print("\n\n".join(f"{titles[name]}\n{_table(rows)}" for name, rows in found.items()))


def listing() -> dict[str, list[dict[str, Any]]]:
    """Return tasks, robots and factors as rows."""
    from envs import Variation, list_factors, list_robots, list_tasks

    train, test = Variation.train(), Variation.test()
    return {
        "tasks": [
            {
                "name": task.name,
                "id": task.id,
                "steps": task.max_steps,
                "sub-goals": ", ".join(task.subgoals),
                "goal": task.summary,
            }
            for task in list_tasks()
        ],
        "robots": [
            {
                "name": robot.name,
                "joints": robot.num_joints,
                "model": _where(robot),
                "description": robot.summary,
            }
            for robot in list_robots()
        ],
        "factors": [
            {
                "name": factor.name,
                "meaning": factor.meaning,
                "train": factor.drawn(train),
                "test": factor.drawn(test),
            }
            for factor in list_factors()
        ],
    }


def _where(robot: Robot) -> str:
    """Return where a robot's model comes from, or what installs it."""
    if robot.package is None:
        return "here"
    return robot.package.requirement if robot.is_available else robot.package.install_command


def _table(rows: Sequence[dict[str, Any]]) -> str:
    """Return rows under a header, the last columns wrapped to the width of the terminal."""
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    widths = _fitted([max(len(row[column]) for row in cells) for column in range(len(names))])
    lines = []
    for row in cells:
        wrapped = [textwrap.wrap(cell, width) or [""] for cell, width in zip(row, widths, strict=True)]
        for index in range(max(map(len, wrapped))):
            parts = (
                (cell[index] if index < len(cell) else "").ljust(width)
                for cell, width in zip(wrapped, widths, strict=True)
            )
            lines.append(f"  {_GAP.join(parts)}".rstrip())
    return "\n".join(lines)


def _fitted(widths: list[int]) -> list[int]:
    """Return the widths, the widest ones made narrower until a row fits the terminal."""
    room = max(60, shutil.get_terminal_size().columns - 2 - len(_GAP) * (len(widths) - 1))
    fitted = list(widths)
    while sum(fitted) > room:
        fitted[fitted.index(max(fitted))] -= 1
    return fitted
