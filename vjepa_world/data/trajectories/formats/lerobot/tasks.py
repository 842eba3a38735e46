"""Reads the list of tasks of a LeRobotDataset: the text of each task index."""

from __future__ import annotations

from pathlib import Path

from vjepa_world.data.trajectories.formats.lerobot import layout
from vjepa_world.data.trajectories.formats.parquet import is_text, read_columns, read_schema
from vjepa_world.data.trajectories.reader_helpers import read_json_lines
from vjepa_world.data.trajectories.safe_paths import ContainedFolder
from vjepa_world.errors import DataError
from vjepa_world.files.validation import text, whole_number

_LINES = "meta/tasks.jsonl"


def read_tasks(folder: ContainedFolder) -> dict[int, str]:
    """Return the texts of tasks by their index, from v3.0's table or v2's JSON lines; empty if there is neither.

    Raises:
        DataError: The file is damaged, or an index has several texts.
    """
    table, lines = folder.file(layout.TASKS_PATH), folder.file(_LINES)
    if table.is_file():
        return _from_table(table)
    return _from_lines(lines) if lines.is_file() else {}


def _from_table(file: Path) -> dict[int, str]:
    # pandas writes the texts as the table's index: the column is named task, or has pandas' name of an unnamed index.
    texts = [field.name for field in read_schema(file) if is_text(field.type)]
    name = "task" if "task" in texts else next(iter(texts), "task")
    rows = read_columns(file, ["task_index", name]).to_pydict()
    return _collected(file, list(zip(rows["task_index"], rows[name], strict=True)))


def _from_lines(file: Path) -> dict[int, str]:
    rows = read_json_lines(file, ("task_index", "task"))
    return _collected(file, [(row["task_index"], row["task"]) for row in rows])


def _collected(file: Path, pairs: list[tuple[object, object]]) -> dict[int, str]:
    found: dict[int, str] = {}
    for number, (index, value) in enumerate(pairs, start=1):
        task_index = whole_number(index, f"{file}, entry {number}: task_index")
        words = text(value, f"{file}, entry {number}: task")
        if found.setdefault(task_index, words) != words:
            raise DataError(
                f"{file}, entry {number}: task {task_index} is '{words[:80]}', and '{found[task_index][:80]}' before; "
                "expected one text for each number. Correct the entry."
            )
    return found
