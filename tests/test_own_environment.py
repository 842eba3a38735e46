"""docs/own_environment.md: its environment and its commands, run from nothing to a success rate."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.paths import REPO
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset

PAGE = (REPO / "docs" / "own_environment.md").read_text(encoding="utf-8")
[SOURCE] = re.findall(r"<!-- file: point_mass\.py -->\n```python\n(.*?)^```", PAGE, re.M | re.S)
BLOCKS = re.findall(r"<!-- run -->\n```bash\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [
    shlex.split(line)[1:]
    for block in BLOCKS
    for line in block.replace("\\\n", " ").splitlines()
    if line.strip()
]
TRAINED = ["device=cpu", "trainer.steps=3", "trainer.threads=1", "trainer.batch_size=4"]
#: What makes the commands quick.
QUICKER = {
    "collect": ["episodes=6", "workers=1"],
    "pretrain": TRAINED,
    "finetune": TRAINED,
    "evaluate": [
        "device=cpu",
        "threads=1",
        "episodes=2",
        "videos=1",
        "planner.num_iterations=1",
        "env.max_steps=3",
    ],
}
DISCRETE = """
import gymnasium
import numpy as np
from point_mass import PointMass


class Discrete(PointMass):
    action_space = gymnasium.spaces.Discrete(5)
    observation_space = gymnasium.spaces.Dict(image=PointMass.observation_space["image"])

    def step(self, action):
        return super().step(np.array([[0, 0], [1, 0], [-1, 0], [0, 1], [0, -1]])[action])

    def observation(self):
        return {"image": super().observation()["image"]}


gymnasium.register("Discrete-v0", entry_point=Discrete)
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "point_mass.py").write_text(SOURCE)
    (tmp_path / "discrete.py").write_text(DISCRETE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def result(home: Path, name: str) -> dict[str, float]:
    found: dict[str, float] = json.loads((home / "runs" / "evaluate" / name / "result.json").read_text())
    return found


def test_the_environment_is_short_and_the_commands_are_a_whole_path() -> None:
    assert len([line for line in SOURCE.splitlines() if line.strip()]) <= 40
    assert [words[0] for words in COMMANDS] == [
        "evaluate",
        "collect",
        "pretrain",
        "finetune",
        "evaluate",
        "report",
        "evaluate",
    ]


def test_the_commands_lead_from_nothing_to_a_success_rate(home: Path) -> None:
    for words in COMMANDS:
        assert run(home, *words, *QUICKER.get(words[0], [])) == 0, words
    assert {name: result(home, name)["episodes"] for name in ("random", "points", "ahead")} == {
        "random": 2,
        "points": 2,
        "ahead": 2,
    }
    assert list((home / "runs" / "finetune" / "points").glob("*.html"))


@pytest.mark.slow
def test_the_success_rate_is_above_that_of_random_actions(home: Path) -> None:
    for words in COMMANDS[:5]:
        assert run(home, *words) == 0, words
    assert result(home, "points")["wilson_low"] > result(home, "random")["wilson_high"]


def test_choices_without_a_state_go_the_whole_path(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    replaced = {
        "env.id=point_mass:PointMass-v0": "env.id=discrete:Discrete-v0",
        "name=points": "name=discrete",
    }
    for command in ("collect", "pretrain", "finetune"):
        words = next(words for words in COMMANDS if words[0] == command)
        words = [replaced.get(word, word.replace("/points", "/discrete")) for word in words]
        assert run(home, *words, *QUICKER[command]) == 0
    assert LeRobotDataset(home / "runs" / "collect" / "discrete").state_names == ()
    suggested = shlex.split(capsys.readouterr().out.split("try it with: vjepa-world ")[1].splitlines()[0])
    quick = [*QUICKER["evaluate"], "name=discrete"]
    assert run(home, *suggested, *quick) == 0
    assert result(home, "discrete")["episodes"] == 2
    without = [word for word in suggested if not word.startswith("planner=")]
    assert run(home, *without, *quick[:-1], "name=default") == 0
    assert run(home, *without, *quick[:-1], "name=numbers", "planner=icem") == 2
    assert "ICEM plans numbers" in capsys.readouterr().err
    assert not (home / "runs" / "evaluate" / "numbers").exists()
    recorded = "runs/collect/discrete"
    assert run(home, "inspect", recorded) == 0
    assert "choices, by their number from 0 to 4" in capsys.readouterr().out
    words = ["checkpoint=runs/finetune/discrete", f"data.path={recorded}", "data.split=all", "data.windows=4"]
    sizes = ["horizon=2", "samples=4", "points=3", "pictures=1"]
    words += ["device=cpu", "threads=1", *(f"open_loop.{size}" for size in sizes)]
    assert run(home, "evaluate-open-loop", "name=discrete", *words) == 0
    assert "actions are choices, and none is known to be one of no motion" in capsys.readouterr().out
