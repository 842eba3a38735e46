"""`vjepa-world envs`."""

from __future__ import annotations

import json

import pytest

from envs import list_tasks
from vjepa_world.cli.main import main


def test_tasks_robots_and_factors_are_listed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["envs"]) == 0
    shown = capsys.readouterr().out
    assert "env.id=vjepa_world/ID" in shown and "Grasp-v0" in shown
    assert "light.azimuth" in shown
    assert max(map(len, shown.splitlines())) <= 100


@pytest.mark.parametrize("columns", [40, 80])
def test_ids_stay_whole_on_a_narrow_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert main(["envs"]) == 0
    shown = capsys.readouterr().out.split()
    assert {task.id.removeprefix("vjepa_world/") for task in list_tasks()} <= set(shown)


def test_the_lists_are_printed_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["envs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() == {"tasks", "robots", "factors"}
    light = next(row for row in found["factors"] if row["name"] == "light.azimuth")
    assert light["train"] == "-1.4 to 0.2"
    assert light["test"] == "-2.2 to -1.5, 0.3 to 1"
