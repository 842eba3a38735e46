"""A task with an object from nothing to a success rate: collect, pretrain, finetune, evaluate, report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import FINETUNE, PRETRAIN, run
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset

DATA, ENCODER, WORLD_MODEL = "runs/collect/grasp", "runs/pretrain/grasp", "runs/finetune/grasp"
TASK = ("env=grasp", "env.image_size=64")
SEARCH = ("planner.num_samples=8", "planner.num_iterations=1", "planner.num_elites=4", "device=cpu")
EPISODES = 6


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which picks were recorded, a world model was trained on them, and evaluated."""
    folder = tmp_path_factory.mktemp("grasp")
    recording = (
        f"episodes={EPISODES}",
        "steps=20",
        "workers=1",
        "behaviours.pick=1",
        "behaviours.carry=1",
    )
    assert run(folder, "collect", "name=grasp", *TASK, *recording) == 0
    assert run(folder, *PRETRAIN, "name=grasp", f"data.path={DATA}") == 0
    assert run(folder, *FINETUNE, "name=grasp", f"data.path={DATA}", f"encoder={ENCODER}") == 0
    words = ("name=grasp", f"checkpoint={WORLD_MODEL}", "episodes=3", *TASK, *SEARCH)
    assert run(folder, "evaluate", *words) == 0
    return folder


def test_the_recording_says_when_the_object_is_touched_and_lifted(home: Path) -> None:
    episodes = [LeRobotDataset(home / DATA).episode(index) for index in range(EPISODES)]
    touched, lifted = (
        np.concatenate([e.columns[name] for e in episodes]) for name in ("contact", "object_lifted")
    )
    assert 0 < lifted.mean() <= touched.mean() < 1
    shares = json.loads((home / DATA / "result.json").read_text())["labels"]
    assert shares["contact"] == pytest.approx(touched.mean())
    assert shares["object_lifted"] == pytest.approx(lifted.mean())


def test_the_expert_lifts_the_object_and_the_result_is_split_by_what_is_unseen(home: Path) -> None:
    result = json.loads((home / "runs" / "evaluate" / "grasp" / "result.json").read_text())
    expert = result["controls"]["scripted expert"]
    assert (expert["episodes"], expert["success_rate"], expert["held"]["success_rate"]) == (3, 1.0, 1.0)
    assert result["controls"]["random actions"]["success_rate"] == 0.0
    assert {"object_shape", "unseen_object", "unseen_colour"} <= set(result["factors"])
    assert [part["name"] for part in expert["subgoals"]] == ["at_object", "lifted"]


def test_a_page_shows_the_evaluation(home: Path) -> None:
    assert run(home, "report", "runs/evaluate/grasp") == 0
    page = (home / "runs" / "evaluate" / "grasp" / "report.html").read_text()
    assert [word for word in ("scripted expert", "unseen object", ".mp4") if word not in page] == []
