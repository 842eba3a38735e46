"""`evaluate` with the shipped model: pairs, manifests, controls and batches."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import EVALUATE, run
from vjepa_world.evaluation.closed_loop.episode_log import read_episodes
from vjepa_world.evaluation.closed_loop.pairs.manifest import read_manifest

WORDS = [*EVALUATE, "inference.precision=float32", "controls.simulator=1", "episodes=3"]


def result_of(home: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "runs" / "evaluate" / name / "result.json").read_text())
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an evaluation of three pairs."""
    home = tmp_path_factory.mktemp("evaluate")
    assert run(home, *WORDS, "name=first") == 0
    return home


def outcomes(home: Path, name: str) -> list[tuple[Any, ...]]:
    lines = read_episodes(home / "runs" / "evaluate" / name)
    return [
        (line.policy, e.pair, e.distances, e.energies, e.plan_energies)
        for line in lines
        if (e := line.episode)
    ]


def test_every_episode_of_every_policy_is_written_with_its_video(home: Path) -> None:
    folder = home / "runs" / "evaluate" / "first"
    lines = read_episodes(folder)
    policies = dict.fromkeys(("world model", "random actions", "no motion", "inverse model alone"), 3)
    policies |= {"true simulator": 1, "scripted expert": 3}
    assert [(line.policy, line.episode.index) for line in lines] == [
        (name, k) for name, count in policies.items() for k in range(count)
    ]
    assert all(
        (folder / line.video).is_file() == (line.policy == "world model") for line in lines if line.video
    )
    assert sum(bool(line.video) for line in lines) == 3
    result = result_of(home, "first")
    assert [*result["controls"]] == [name for name in policies if name != "world model"]
    assert result["controls"]["true simulator"]["episodes"] == 1
    assert result["controls"]["no motion"]["successes"] == 0
    still = [line.episode for line in lines if line.policy == "no motion"]
    assert all(abs(d - e.initial_distance) < 0.01 for e in still for d in e.distances)
    assert result["left_out"] == {}


def test_a_manifest_runs_the_same_pairs_again_and_batches_give_the_same(home: Path) -> None:
    manifest = "manifest=runs/evaluate/first/manifest.json"
    words = [word for word in WORDS if not word.startswith("episodes=")]
    assert run(home, *words, manifest, "batch=2", "name=again") == 0
    assert outcomes(home, "again") == outcomes(home, "first")
    first, again = (read_manifest(home / "runs" / "evaluate" / name) for name in ("first", "again"))
    assert first == again
    assert (result_of(home, "again")["seed"], result_of(home, "again")["batch"]) == (20_000, 2)


def test_a_manifest_of_another_environment_is_refused_before_the_run_is_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in WORDS if not word.startswith("episodes=")]
    assert run(home, *words, "manifest=runs/evaluate/first", "env.variation=train", "name=other") == 2
    message = capsys.readouterr().err
    assert "another task or environment: env.variation is 'train', the manifest's 'test'. " in message
    assert "with env.variation=test" in message
    assert not (home / "runs" / "evaluate" / "other").exists()
    assert run(home, *words, "manifest=runs/evaluate/first", "episodes=9") == 2
    assert "episodes" in capsys.readouterr().err


def test_a_manifest_with_a_repeated_pair_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = json.loads((home / "runs" / "evaluate" / "first" / "manifest.json").read_text())
    manifest["pairs"].append(manifest["pairs"][0])
    (home / "repeated.json").write_text(json.dumps(manifest))
    words = [word for word in WORDS if not word.startswith("episodes=")]
    assert run(home, *words, "manifest=repeated.json", "name=repeated") == 2
    assert "the manifest repeats 1 of 4 pairs: pair 3 " in capsys.readouterr().err


def test_a_task_that_is_not_that_of_the_training_data_is_said(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert run(home, *EVALUATE, "controls.simulator=0", "name=trained") == 0
    assert "was trained on" not in caplog.text
    assert run(home, *EVALUATE, "env=grasp", "controls.simulator=0", "name=untrained") == 0
    expected = "trained on episodes of vjepa_world/Reach-v0, and none of vjepa_world/Grasp-v0, in which it is evaluated"
    assert [record.levelname for record in caplog.records if expected in record.message] == ["WARNING"]


def test_sub_goals_are_recorded_in_the_result_and_not_in_the_manifest(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*EVALUATE, "inference.precision=float32", "env=push", "env.max_steps=3", "goals=subgoals"]
    words += ["subgoal_steps=[2,1]", "controls.simulator=1", "name=pushed"]
    assert run(home, *words) == 0
    assert "goals: images of the sub-goals, for 2/1 actions" in capsys.readouterr().out
    folder = home / "runs" / "evaluate" / "pushed"
    assert result_of(home, "pushed")["goals"] == {"kind": "subgoals", "steps": [2, 1]}
    assert "goals" not in (folder / "manifest.json").read_text()
    assert {line.episode.pursued for line in read_episodes(folder)} == {(0, 0, 1, 1)}
    assert result_of(home, "first")["goals"] == {"kind": "final", "steps": []}


def test_sub_goals_of_an_environment_without_are_refused_before_the_run_is_made(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *EVALUATE, "goals=subgoals", "name=none") == 2
    assert "goals=subgoals needs subgoal_images and subgoals_reached" in capsys.readouterr().err
    assert run(home, *EVALUATE, "env=grasp", "goals=subgoals", "subgoal_steps=[4]", "name=none") == 2
    assert "the environment has 2 sub-goals (at_object, lifted)" in capsys.readouterr().err
    assert run(home, *EVALUATE, "subgoal_steps=[4]", "name=none") == 2
    assert "'subgoal_steps' is given, and goals=final does not use it" in capsys.readouterr().err
    assert not (home / "runs" / "evaluate" / "none").exists()


def test_compare_takes_evaluations_on_the_same_pairs_and_refuses_a_mixture(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word for word in WORDS if not word.startswith("episodes=")]
    assert run(home, *words, "manifest=runs/evaluate/first", "planner.num_samples=4", "name=less") == 0
    capsys.readouterr()
    assert run(home, "compare", "runs/evaluate/first", "runs/evaluate/less", "output=both.json") == 0
    assert "3 pairs; difference of success to the first in points" in capsys.readouterr().out
    first, second = json.loads((home / "both.json").read_text())["evaluations"]
    assert "difference" in second and "difference" not in first
    capsys.readouterr()
    (home / "a_file").write_text("")
    assert run(home, "compare", "runs/evaluate/first", "runs/evaluate/less", "output=a_file/both.json") == 2
    written = capsys.readouterr()
    assert "runs/evaluate/less" in written.out
    assert "Cannot write a_file/both.json: " in written.err
    assert run(home, "compare", "runs/evaluate/first", "xfeat") == 2
    assert "runs/evaluate/first is an evaluation, and xfeat is not" in capsys.readouterr().err
    assert run(home, "compare", "runs/evaluate/first", "runs/evaluate/fewer") == 2
    assert "there is no run runs/evaluate/fewer; runs in runs/evaluate: " in capsys.readouterr().err
    assert run(home, "compare", "less", "runs/evaluate/first") == 2
    assert (
        "there is no run less; give the folder of one, such as runs/evaluate/less. "
        in capsys.readouterr().err
    )


def test_report_of_an_evaluation_plays_its_videos(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "report", "runs/evaluate/first") == 0
    assert "report in runs/evaluate/first/report.html" in capsys.readouterr().out
    folder = home / "runs" / "evaluate" / "first"
    videos = re.findall(r'<video[^>]* src="([^"]+)"', (folder / "report.html").read_text())
    assert len(videos) == 3 and all((folder / video).is_file() for video in videos)
