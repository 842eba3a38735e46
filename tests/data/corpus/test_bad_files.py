"""The list of bad files is always complete and has no duplicates."""

from __future__ import annotations

import csv
import multiprocessing
import os
from pathlib import Path

import pytest

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.errors import DataError


def rows(path: Path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.reader(stream))


def test_names_reasons_and_steps_are_written(tmp_path: Path) -> None:
    bad = BadFiles(1.0, quiet=True)  # pytest-xdist cannot carry the odd name in its log
    assert bad.add("a, b.mp4", 'it says "no"', None)
    assert bad.add("c\nd.mp4", "cut\noff", 7)
    assert not bad.add("a, b.mp4", "again", 9)
    odd = os.fsdecode(b"\xff.mp4")
    bad.add(odd, f"{odd} is empty", 8)
    bad.write(tmp_path / "run" / "bad_files.csv")
    assert rows(tmp_path / "run" / "bad_files.csv") == [
        ["path", "reason", "step"],
        ["a, b.mp4", 'it says "no"', "start"],
        ["c\nd.mp4", "cut\noff", "7"],
        [odd, f"{odd} is empty", "8"],
    ]


def test_a_later_run_appends_without_duplicates(tmp_path: Path) -> None:
    path = tmp_path / "bad_files.csv"
    first, second = BadFiles(1.0), BadFiles(1.0)
    first.add("a", "a is bad", 3)
    first.write(path)
    second.add("a", "another reason", None)
    second.add("b", "b is bad", 5)
    for _ in range(2):
        second.write(path)
    assert rows(path)[1:] == [["a", "a is bad", "3"], ["b", "b is bad", "5"]]


def add_some(path: Path, first: int) -> None:
    bad = BadFiles(1.0, quiet=True)
    for number in range(first, first + 40):
        bad.add(str(number), f"{number} is bad", number)
        bad.write(path)


def test_concurrent_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bad_files.csv"
    processes = [multiprocessing.Process(target=add_some, args=(path, 20 * rank)) for rank in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert sorted(int(row[0]) for row in rows(path)[1:]) == list(range(80))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(DataError, match="Cannot write .*bad_files.csv"):
        BadFiles(1.0).write(tmp_path / "run" / "bad_files.csv")
