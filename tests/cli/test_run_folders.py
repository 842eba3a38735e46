"""Run folders: no results of other settings, one process at a time, any thread."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import COLLECT, EVALUATE, run
from tests.training.corpora import SMALL, write_corpus
from vjepa_world.cli.shared.commands import config_of
from vjepa_world.config import read_yaml, to_yaml
from vjepa_world.errors import ConfigError
from vjepa_world.evaluation.closed_loop import evaluate
from vjepa_world.evaluation.closed_loop.pairs import drawing
from vjepa_world.evaluation.statistics import EvaluationError
from vjepa_world.files.folder_lock import locked_folder

PRETRAIN = ["pretrain", *SMALL, "trainer.batch_size=4", "trainer.steps=1"]


def settings(folder: Path) -> dict[str, object]:
    return read_yaml((folder / "config.yaml").read_text())


def killed(*words: object, **keys: object) -> None:
    raise KeyboardInterrupt


def test_a_run_is_resumed_with_or_without_its_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def begun(name: str, *words: str) -> Any:
        config = config_of("collect", [f"name={name}", *words])
        (tmp_path / "runs/collect" / name).mkdir(parents=True)
        (tmp_path / "runs/collect" / name / "config.yaml").write_text(to_yaml(config))
        return config

    own = begun("own", "env=gym", "env.id=mine:Mine-v0", "env.image_size=32", "env.fps=20")
    push = begun("push", "env=push", "env.image_size=64")
    for words in ([], ["env=gym", "env.fps=20"]):
        assert config_of("collect", ["name=own", "resume=true", *words]) == replace(own, resume=True)
    for words in ([], ["env=push"]):
        assert config_of("collect", ["name=push", "resume=true", *words]) == replace(push, resume=True)
    assert config_of("collect", ["name=push", "resume=true", "env=grasp"]).env.id == "vjepa_world/Grasp-v0"
    for name, difference in (
        ("own", "its env.fps is 20, and 10"),
        ("push", "its env.max_steps is 40, and 50"),
    ):
        with pytest.raises(
            ConfigError, match=f"env=gym does not fit .*: {difference} in env=gym. Leave env=gym out"
        ):
            config_of("collect", [f"name={name}", "resume=true", "env=gym"])


def no_pairs(*words: object, **keys: object) -> None:
    raise EvaluationError("only 0 of 10 seeds begin unsolved")


@pytest.mark.parametrize(("command", "folder"), [("evaluate", "evaluate/x"), ("demo", "demo")])
def test_a_stopped_evaluation_leaves_no_result_of_other_settings(
    command: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [command, *EVALUATE[1:], *(["name=x"] if command == "evaluate" else [])]
    resume = ["resume=true"] if command == "evaluate" else []
    assert run(tmp_path, *words, "seed=1") == 0
    home = tmp_path / "runs" / folder
    assert (home / "result.json").is_file()
    assert list((home / "videos").iterdir())
    monkeypatch.setattr(evaluate, "evaluate", killed)
    assert run(tmp_path, *words, "seed=7", *resume) == 130
    manifest = json.loads((home / "manifest.json").read_text())
    assert manifest["seed"] == 7
    assert not (home / "result.json").exists() and not (home / "videos").exists()
    if command == "evaluate":
        assert settings(home)["seed"] == 7


@pytest.mark.parametrize(("command", "folder"), [("evaluate", "evaluate/x"), ("demo", "demo/x")])
def test_an_evaluation_without_pairs_leaves_the_name_free_and_earlier_results_as_they_are(
    command: str, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words, home = [command, *EVALUATE[1:], "name=x"], tmp_path / "runs" / folder
    with monkeypatch.context() as patched:
        patched.setattr(drawing, "draw_pairs", no_pairs)
        assert run(tmp_path, *words) == 2
        assert not home.exists()
        assert run(tmp_path, *words) == 2
    assert run(tmp_path, *words) == 0
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    monkeypatch.setattr(drawing, "draw_pairs", no_pairs)
    assert run(tmp_path, *words, "seed=7", "resume=true") == 2
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_an_evaluation_whose_name_is_taken_is_refused_before_pairs_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(drawing, "draw_pairs", killed)
    for command in ("evaluate", "demo"):
        (tmp_path / "runs" / command / "x" / "videos").mkdir(parents=True)
        assert run(tmp_path, command, *EVALUATE[1:], "name=x") == 2
        assert f"the run runs/{command}/x exists already" in capsys.readouterr().err


def test_resuming_refuses_some_changed_settings_and_accepts_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path)
    assert run(tmp_path, *PRETRAIN, "name=x") == 0
    home = tmp_path / "runs" / "pretrain" / "x"
    before = (home / "config.yaml").read_text()
    for word, message in (
        ("seed=7", "seed was 0, is now 7"),
        ("data.flip=0", "data.flip was 0.5, is now 0.0"),
        ("objective.mask_ratio=0.5", "objective.mask_ratio was 0.9, is now 0.5"),
    ):
        assert run(tmp_path, *PRETRAIN, "name=x", "resume=true", word) == 2
        assert f"started with other settings: {message}. Resume with the same" in capsys.readouterr().err
        assert (home / "config.yaml").read_text() == before
    assert run(tmp_path, *PRETRAIN, "name=x", "resume=true", "trainer.steps=2", "trainer.lr=1e-4") == 0
    assert len((home / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_run_in_use_is_refused_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*COLLECT, "episodes=1", "steps=1", "name=x"]
    assert run(tmp_path, *words) == 0
    with locked_folder(tmp_path / "runs" / "collect" / "x"):
        assert run(tmp_path, *words, "resume=true") == 2
        assert "runs/collect/x is in use by process " in capsys.readouterr().err
    assert run(tmp_path, *words, "resume=true") == 0
    with locked_folder(tmp_path):  # that of one file or folder is its own
        assert run(tmp_path, "convert", "runs/collect/x", "copy", "--workers", "1") == 0


def test_training_works_outside_of_the_main_thread(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run(tmp_path, *PRETRAIN, "name=x")))
    thread.start()
    thread.join()
    assert codes == [0]
    assert (tmp_path / "runs" / "pretrain" / "x" / "checkpoints" / "step_00000001").is_dir()


def test_a_resumed_run_keeps_the_settings_that_are_not_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["name=x", "data.path=videos", "model=vit_nano", "trainer.steps=7", "model.depth=3"]
    before = config_of("pretrain", words)
    (tmp_path / "runs/pretrain/x").mkdir(parents=True)
    (tmp_path / "runs/pretrain/x/config.yaml").write_text(to_yaml(before))
    assert config_of("pretrain", ["name=x", "resume=true"]) == replace(before, resume=True)
    longer = config_of("pretrain", ["name=x", "resume=true", "trainer.steps=9"])
    assert longer == replace(before, resume=True, trainer=replace(before.trainer, steps=9))
    assert config_of("pretrain", [*words, "resume=true"]) == replace(before, resume=True)
    assert config_of("pretrain", ["name=y", "resume=true", "data.path=videos"]).trainer.steps != 7
