"""The page of an evaluation: failures first, rates by factor, links to videos, leakage."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.box_world import BoxEnv, CentroidPolicy
from tests.reports.pages.test_run_report import Outside, headings
from vjepa_world.data.training_record import pack
from vjepa_world.evaluation.closed_loop.episode import Recording
from vjepa_world.evaluation.closed_loop.episode_log import EpisodeLog
from vjepa_world.evaluation.closed_loop.evaluate import POLICY, evaluate
from vjepa_world.evaluation.closed_loop.pairs.leakage import find_leakage
from vjepa_world.reports.pages.evaluation import evaluation_page
from vjepa_world.runs import RunError

EPISODES = 6


class LabelledEnv(BoxEnv):
    """Has labels, sub-goals, and every third episode is too short to reach its goal."""

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = super().reset(**given)
        self.time_limit = 1 if len(self.seeds) % 3 == 0 else 20
        factors = {"light": "dim" if len(self.seeds) % 2 else "bright", "camera_moved": True}
        return observation, info | {"factors": factors, "subgoal_names": ("near", "there")}

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        return info | {"subgoals_reached": [True, info["success"]], "contact": True}


def write(folder: Path, *, leaks: bool = False) -> Path:
    folder.mkdir(parents=True)
    log = EpisodeLog(folder)

    def add(name: str, recording: Recording) -> None:
        episode = recording.episode
        log.add(name, episode, f"videos/{episode.index:03d}.mp4" if name == POLICY else "")

    found = evaluate(LabelledEnv(), CentroidPolicy(), episodes=EPISODES, on_episode=add)
    log.close()
    pairs = [episode.pair for episode in found.episodes]
    seen = {pairs[0].seed} if leaks else set()
    entry = {"id": "Box-v0", "variation": "test", "trained": pack(seen), "held_out": pack(())}
    leakage = find_leakage({"verb": "finetune", "environments": [entry]}, "Box-v0", pairs)
    result = found.metrics() | {
        "checkpoint": "runs/finetune/<mine>",
        "policy": POLICY,
        "environment": {"id": "Box-v0", "variation": "test", "max_steps": 20},
        "left_out": {"scripted expert": "left out: the environment has none"},
        "leakage": leakage.as_json(),
    }
    (folder / "result.json").write_text(json.dumps(result))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("home") / "runs" / "evaluate" / "first")


def test_failures_come_first_and_every_episode_has_its_video(folder: Path) -> None:
    page = evaluation_page(folder, folder / "report.html")
    outcomes = re.findall(r'<b class="\w+">(missed|reached[^<]*)</b>', page)
    assert outcomes == ["missed"] * 2 + ["reached, held"] * 4
    assert headings(page) == [
        "Result",
        "Success rates",
        "Missed",
        "Energy and distance",
        "Reached",
        "Settings",
    ]
    assert len(re.findall(r'<video[^>]* src="videos/00\d\.mp4"', page)) == EPISODES
    outside = Outside()
    outside.feed(page)
    assert not outside.open
    assert all(address.startswith("videos/") for address in outside.loaded)


def test_videos_are_found_from_another_folder(folder: Path) -> None:
    page = evaluation_page(folder, folder.parents[2] / "report.html")
    assert 'src="runs/evaluate/first/videos/000.mp4"' in page


def test_rates_are_shown_by_policy_factor_and_subgoal(folder: Path) -> None:
    page = evaluation_page(folder, folder / "report.html")
    assert "4 of 6 episodes reached the goal." in page
    for word in ("world model", "random actions", "light: bright", "light: dim", "sub-goals", "near (6)"):
        assert word in page
    assert "The same in all episodes: camera moved yes." in page
    assert "Episodes with contact: 6." in page
    assert "left out: the environment has none" in page
    assert "runs/finetune/&lt;mine&gt;" in page


def test_energy_is_drawn_over_distance_with_its_rank_correlation(folder: Path) -> None:
    page = evaluation_page(folder, folder / "report.html")
    [overall] = re.findall(r"over all observations:\s+(-?[\d.]+)", page)
    assert float(overall) > 0.9  # the policy's energy is the distance along the axes
    assert "energy over distance to the goal" in page


def test_energies_to_sub_goals_are_not_drawn_over_the_distance_to_the_goal(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    result = json.loads((folder / "result.json").read_text())
    result["goals"] = {"kind": "subgoals", "steps": []}
    (folder / "result.json").write_text(json.dumps(result))
    log = folder / "episodes.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:  # at a sub-goal, the first of two, energies that fall while the distance grows
        if line["energies"]:
            line["pursued"] = [0, 0] + [1] * (len(line["energies"]) - 2)
            line["energies"][:2] = [100.0, 200.0]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = evaluation_page(folder, folder / "report.html")
    [overall] = re.findall(r"over all observations:\s+(-?[\d.]+)", page)
    assert float(overall) > 0.9
    assert "of at most 20 actions, by sub-goals" in page


@pytest.mark.parametrize(("leaks", "kind"), [(True, "alarm"), (False, "good")])
def test_a_leaking_evaluation_is_an_alarm(leaks: bool, kind: str, tmp_path: Path) -> None:
    page = evaluation_page(write(tmp_path / "run", leaks=leaks), tmp_path / "run" / "report.html")
    [(found, text)] = re.findall(r'<p class="note ?(\w*)">([^<]*)</p>', page)
    assert (found, text.startswith("LEAKAGE: 1 of 6 pairs")) == (kind, leaks)


def test_a_stopped_evaluation_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "run")
    (folder / "result.json").unlink()
    with pytest.raises(RunError, match=r"has no result.json: it was stopped. Run it again with resume=true"):
        evaluation_page(folder, folder / "report.html")
