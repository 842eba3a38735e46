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
#: What the ids of all our tasks begin with.
_PREFIX = "vjepa_world/"


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
    # The goal's words need the room that the same prefix in each row would take.
    found["tasks"] = [{**row, "id": row["id"].removeprefix(_PREFIX)} for row in found["tasks"]]
    titles = {
        "tasks": f"Tasks (env=NAME, or env.id={_PREFIX}ID)",
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
    """Return rows under a header, wide columns wrapped to the width of the terminal; ids and other words stay whole."""
    names = list(rows[0])
    cells = [names, *([str(row[name]) for name in names] for row in rows)]
    columns = list(zip(*cells, strict=True))
    words = [max(len(word) for cell in column for word in cell.split()) for column in columns]
    widths = _fitted([max(map(len, column)) for column in columns], words)
    lines = []
    for row in cells:
        wrapped = [
            textwrap.wrap(cell, width, break_long_words=False, break_on_hyphens=False) or [""]
            for cell, width in zip(row, widths, strict=True)
        ]
        for index in range(max(map(len, wrapped))):
            parts = (
                (cell[index] if index < len(cell) else "").ljust(width)
                for cell, width in zip(wrapped, widths, strict=True)
            )
            lines.append(f"  {_GAP.join(parts)}".rstrip())
    return "\n".join(lines)


def _fitted(widths: list[int], least: list[int]) -> list[int]:
    """Return the widths, the widest ones made narrower, but not than `least`, until a row fits the terminal."""
    available = max(60, shutil.get_terminal_size().columns - 2 - len(_GAP) * (len(widths) - 1))
    fitted = list(widths)
    while sum(fitted) > available:
        shrinkable = [column for column, width in enumerate(fitted) if width > least[column]]
        if not shrinkable:
            break
        fitted[max(shrinkable, key=lambda column: fitted[column])] -= 1
    return fitted
