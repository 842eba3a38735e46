"""Probes in use: video files, a recorded dataset, metrics compared with a baseline, the prediction for a video."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.cli.commands import run
from tests.data.conftest import make_writer
from tests.training import tiny
from vjepa_world.cli.probe import _sentence
from vjepa_world.data.video.writer import write_video
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained import read_checkpoint, save_pretrained
from vjepa_world.pretrained.native import write_native
from vjepa_world.pretrained.probes import load_probe

FPS, FRAMES, SIZE = 8, 6, 32

# Untrained rotary features do not contain a token's position, and a probe has no position embedding either.
ENCODER = dataclasses.replace(tiny.ENCODER, positions="sincos")
VIDEOS_A_CLASS, EPISODES, ROWS = 20, 40, 8

TRAINER = ["trainer.workers=0", "trainer.threads=1", "trainer.precision=float32", "trainer.log_every=50"]
SPLIT = ["data.val_fraction=0.15", "data.test_fraction=0.3"]
PROBE = ["probe", "device=cpu", "probe.depth=1", "weight_decays=[0.01]", *SPLIT, *TRAINER]
CLASSIFY = [*PROBE, f"data.fps={FPS}", "trainer.steps=100", "lrs=[3e-3,1e-2]"]
REGRESS = [*PROBE, "trainer.steps=120", "lrs=[1e-2,3e-2]"]


def field_with_square(background: np.ndarray, square: np.ndarray, left: float, top: float) -> np.ndarray:
    """A uint8 frame with a square of 8 pixels; positions go from 0 to 1."""
    frame = np.empty((SIZE, SIZE, 3), np.uint8)
    frame[:] = background
    x, y = (round(position * (SIZE - 8)) for position in (left, top))
    frame[y : y + 8, x : x + 8] = square
    return frame


def movie(label: str, rng: np.random.Generator) -> list[np.ndarray]:
    """A square that crosses a grey field on its way: warm colours rise, cold ones fall."""
    background = np.full(3, rng.integers(60, 140))
    square = np.array([rng.integers(200, 256), rng.integers(60), rng.integers(60)])
    left, speed = rng.uniform(0, 1), rng.uniform(0.1, 0.2)
    tops = np.clip(1 - speed * np.arange(FRAMES), 0, 1)
    if label == "cold":
        square, tops = square[::-1], 1 - tops
    return [field_with_square(background, square, left, top) for top in tops]


def record(root: Path) -> None:
    """Record episodes of a moving square; its position is the first two numbers of the state."""
    rng = np.random.default_rng(0)
    writer = make_writer(root, image_shape=(SIZE, SIZE, 3))
    with writer.shard(0) as out:
        for _ in range(EPISODES):
            walk = rng.uniform(0, 1, 2) + np.cumsum(rng.normal(0, 0.1, (ROWS, 2)), axis=0)
            locations = np.clip(walk, 0, 1)
            background, square = rng.integers(20, 100, 3), rng.integers(170, 256, 3)
            frames = np.stack([field_with_square(background, square, *position) for position in locations])
            states = np.column_stack([0.3 * locations, rng.normal(size=ROWS)]).astype(np.float32)
            out.add_episode(frames, states, np.zeros((ROWS - 1, 2), np.float32), task="walk")
    writer.finalize()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder, labelled videos and a dataset, and a probe of each."""
    folder = tmp_path_factory.mktemp("home")
    save_pretrained(untrained_encoder(ENCODER, seed=0), folder / "encoder")
    rng = np.random.default_rng(0)
    for label in ("warm", "cold"):
        for number in range(VIDEOS_A_CLASS):
            path = folder / "videos" / label / f"{number}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, movie(label, rng), FPS)
    record(folder / "arm")
    assert run(folder, *CLASSIFY, "name=motion", "data.path=videos", "encoder=encoder") == 0
    words = ["name=place", "data.path=arm", "encoder=encoder", "target=observation.state[0:2]"]
    assert run(folder, *REGRESS, *words) == 0
    return folder


def result(home: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "runs" / "probe" / name / "result.json").read_text())
    return found


def test_classes_of_videos_are_predicted(home: Path) -> None:
    found = result(home, "motion")
    assert found["labels"] == ["cold", "warm"]
    assert found["videos"] == {"train": 22, "val": 6, "test": 12}
    test = found["test"]
    assert test["accuracy"] >= 0.9 and test["baseline"]["accuracy"] == 0.5
    assert test["interval"][0] > test["baseline"]["accuracy"]
    tried = {(trial["lr"], trial["weight_decay"]) for trial in found["validation"]}
    assert tried == {(3e-3, 0.01), (1e-2, 0.01)}
    assert (found["chosen"]["lr"], found["chosen"]["weight_decay"]) in tried


def test_a_position_is_predicted_from_the_image(home: Path) -> None:
    found = result(home, "place")
    assert found["labels"] == ["x", "y"]
    assert found["episodes"] == {"train": 22, "val": 6, "test": 12}
    test = found["test"]
    assert test["clips"] == 12 * ROWS
    assert test["euclidean_error"] < 0.5 * test["baseline"]["euclidean_error"]
    assert test["interval"][1] < test["baseline"]["interval"][0]
    assert set(test["absolute_error"]) == {"x", "y"}


def test_a_run_folder_has_settings_log_and_probe(home: Path) -> None:
    folder = home / "runs" / "probe" / "motion"
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"loss_lr0.003_wd0.01", "val_accuracy_lr0.01_wd0.01"} <= set(lines[-1])
    assert "encoder: encoder" in (folder / "config.yaml").read_text()
    saved = load_probe(folder)
    assert (saved.task, saved.labels, saved.encoder) == ("classification", ("cold", "warm"), "encoder")
    assert saved.shown is not None and (saved.shown.frames, saved.shown.fps) == (4, FPS)
    assert saved.probe.config.num_heads == ENCODER.num_heads


def predict(home: Path, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    capsys.readouterr()
    assert run(home, "predict", *words, "--json", "--device", "cpu") == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_predict_names_the_class_of_a_new_video(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for label in ("warm", "cold"):
        write_video(home / f"{label}.mp4", movie(label, np.random.default_rng(1)), FPS)
        answer = predict(home, capsys, f"{label}.mp4", "--probe", "runs/probe/motion")
        chances = [row["probability"] for row in answer["prediction"]]
        assert answer["prediction"][0]["label"] == label
        assert chances[0] > 0.5 and sum(chances) == pytest.approx(1)
    best = predict(home, capsys, "cold.mp4", "--probe", "runs/probe/motion", "--top", "1", "--clips", "3")
    assert [row["label"] for row in best["prediction"]] == ["cold"]
    assert run(home, "predict", "cold.mp4", "--probe", "runs/probe/motion") == 0
    assert re.match(r" [01]\.\d{4}  cold\n 0\.\d{4}  warm\n$", capsys.readouterr().out)


def test_predict_accepts_a_classifier_with_its_own_encoder(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in transformers: one checkpoint, which does not record its encoder's input."""
    probe, encoder = read_checkpoint(home / "runs" / "probe" / "motion"), read_checkpoint(home / "encoder")
    both = dataclasses.replace(probe, encoder=encoder.encoder, tensors=probe.tensors | encoder.tensors)
    write_native(both, home / "classifier")
    answer = predict(home, capsys, "videos/cold/0.mp4", "--probe", "classifier")
    assert answer["prediction"][0]["label"] == "cold"


def test_predict_returns_the_position_in_a_new_video(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grey, white = np.full(3, 60), np.full(3, 220)
    locations = [(0.1, 0.5), (0.5, 0.5), (0.9, 0.5)]
    frames = [field_with_square(grey, white, *position) for position in locations for _ in range(FRAMES)]
    write_video(home / "walk.mp4", frames, FPS)
    answer = predict(home, capsys, "walk.mp4", "--probe", "runs/probe/place", "--clips", "3")
    assert [round(row["time_s"] * FPS / FRAMES - 0.5) for row in answer["prediction"]] == [0, 1, 2]
    found = np.array([[row["values"]["x"], row["values"]["y"]] for row in answer["prediction"]])
    baseline = result(home, "place")["test"]["baseline"]["euclidean_error"]
    assert np.linalg.norm(found - 0.3 * np.array(locations), axis=1).max() < baseline
    assert found[0, 0] < found[1, 0] < found[2, 0]


def test_a_list_of_videos_uses_cached_features(home: Path) -> None:
    """The same videos in the same order: only the source of the labels differs."""
    with open(home / "list.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        for path in sorted((home / "videos").rglob("*.mp4")):
            rows.writerow([path.relative_to(home), path.parent.name])
    before = sorted((home / "runs" / "features").iterdir())
    assert run(home, *CLASSIFY, "name=list", "data.path=list.csv", "encoder=encoder") == 0
    assert result(home, "list")["test"] == result(home, "motion")["test"]
    linear = [word for word in CLASSIFY if word != "probe.depth=1"]  # which a linear probe refuses
    linear += ["probe.kind=linear", "lrs=[1e-2]", "data.clips=2"]
    assert sorted((home / "runs" / "features").iterdir()) == before
    assert run(home, *linear, "name=linear", "data.path=list.csv", "encoder=encoder") == 0
    assert result(home, "linear")["test"]["accuracy"] >= 0.9
    assert load_probe(home / "runs" / "probe" / "linear").clips == 2


def test_a_finished_run_can_be_continued(home: Path) -> None:
    words = ["name=twice", "data.path=videos", "encoder=encoder"]
    assert run(home, *CLASSIFY, *words, "trainer.steps=4") == 0
    assert run(home, *CLASSIFY, *words, "trainer.steps=4", "resume=true") == 0
    assert run(home, *CLASSIFY, *words, "trainer.steps=6", "resume=true") == 0
    steps = sorted(path.name for path in (home / "runs" / "probe" / "twice" / "checkpoints").iterdir())
    assert steps == ["step_00000004", "step_00000006"]


def test_another_encoder_is_detected(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    save_pretrained(untrained_encoder(ENCODER, seed=1), home / "other")
    words = ["predict", "videos/warm/0.mp4", "--probe", "runs/probe/motion", "--encoder"]
    assert run(home, *words, "other") == 0
    assert "the weights of other differ from those that the probe was trained on" in caplog.text
    wide = untrained_encoder(dataclasses.replace(ENCODER, embed_dim=48), seed=0)
    save_pretrained(wide, home / "wide")
    assert run(home, *words, "wide") == 2
    assert "probe reads features of width 24, but the encoder wide gives 48" in capsys.readouterr().err
    assert run(home, *words, "nowhere") == 2
    assert "nowhere does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["data.path=nowhere"],
            "nowhere does not exist; give a folder with a sub-folder of videos for each class",
        ),
        (["data.path=one"], "all 3 videos are of the class 'warm'; a classifier needs at least two"),
        (["data.path=single"], "too few videos in 1 classes: 'cold' has 1. Each class needs at least 3"),
        (["data.path=columns.csv"], "has no column 'label' in its first line; it has: path, class"),
        (["data.path=missing.csv"], "line 2: the label of 'videos/warm/0.mp4' is missing"),
        (
            ["data.path=videos", "target=action"],
            "target 'action' names a column of a LeRobot dataset, but videos is",
        ),
        (
            ["data.path=nowhere", "target=action"],
            "nowhere does not exist; expected the LeRobot dataset that target=action is of",
        ),
        (
            ["data.path=arm"],
            r"arm is a LeRobot dataset: say with target=.*Numeric columns: observation.state, action",
        ),
        (["data.path=arm", "target=reward"], "arm has no column 'reward' for target; .*[Aa]llowed: action"),
        (
            ["data.path=arm", "target=observation.images.main"],
            "'observation.images.main' of arm is not numeric: it is",
        ),
        (["data.path=arm", "target=observation.state[0:9]"], "names no numbers of a column of 3"),
        (["data.path=videos", "data.frames=3"], "video of 3 frames of 32x32 pixels does not divide"),
        (["data.path=videos", "data.test_fraction=0.9"], "leave nothing to train on"),
        (["data.path=videos", "data.crop=2"], r"'data.crop' got 2, expected a number from 0.0 to 1.0\n"),
        (["data.path=videos", "data.clips=0"], "data.clips is 0; it must be at least 1"),
        (
            ["data.path=videos", "probe.kind=attentiv"],
            "probe.kind 'attentiv' is not known; did you mean 'attentive'",
        ),
        (["data.path=videos", "probe.num_heads=5"], "embed_dim 24 does not give 5 heads"),
        (["data.path=videos", "lrs=[0]"], "lrs has 0.0; a learning rate is positive"),
        (["data.path=videos", "trainer.steps=0"], "trainer.steps is 0; it must be at least 1"),
        (["data.path=videos", "encoder=nowhere"], "nowhere does not exist"),
    ],
)
def test_bad_input_is_reported_and_leaves_no_run(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    for number in range(3):
        (home / "one" / "warm").mkdir(parents=True, exist_ok=True)
        shutil.copy(home / "videos" / "warm" / f"{number}.mp4", home / "one" / "warm")
    shutil.copytree(home / "one", home / "single", dirs_exist_ok=True)
    (home / "single" / "cold").mkdir(exist_ok=True)
    shutil.copy(home / "videos" / "cold" / "0.mp4", home / "single" / "cold")
    (home / "columns.csv").write_text("path,class\nvideos/warm/0.mp4,warm\n")
    (home / "missing.csv").write_text("path,label\nvideos/warm/0.mp4,\n")
    before = sorted((home / "runs").glob("*/*"))
    assert run(home, *CLASSIFY, "name=bad", "encoder=encoder", *words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted((home / "runs").glob("*/*")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere.mp4", "--probe", "runs/probe/motion"], "No such video file: nowhere.mp4"),
        (["encoder/config.json", "--probe", "runs/probe/motion"], "Cannot read encoder/config.json"),
        (["videos/warm/0.mp4", "--probe", "encoder"], "is of kind encoder, but a probe is required"),
        (["videos/warm/0.mp4", "--probe", "nowhere"], "nowhere does not exist"),
        (
            ["videos/warm/0.mp4", "--probe", "runs/probe/motion", "--top", "0"],
            "'top' got 0, expected a number from 1 to 1000000000\n",
        ),
    ],
)
def test_inputs_that_cannot_be_predicted_are_reported(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(home, "predict", *words) == 2
    assert message in capsys.readouterr().err


def test_a_missing_encoder_of_a_probe_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moved = home / "elsewhere"
    moved.mkdir()
    words = [
        "predict",
        str(home / "videos" / "warm" / "0.mp4"),
        "--probe",
        str(home / "runs" / "probe" / "motion"),
    ]
    assert run(moved, *words) == 2
    assert "was trained on it; if it was moved, give --encoder" in capsys.readouterr().err
    assert run(moved, *words, "--encoder", str(home / "encoder")) == 0


def test_a_video_that_breaks_while_it_is_read_is_left_out(
    home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its header is intact, its frames are not."""
    shutil.copytree(home / "videos", home / "broken")
    path = home / "broken" / "warm" / "0.mp4"
    content = bytearray(path.read_bytes())
    start = content.index(b"mdat") + 4
    content[start : start + 400] = bytes(400)
    path.write_bytes(content)
    words = ["name=broken", "data.path=broken", "encoder=encoder", "trainer.steps=2"]
    assert run(home, *CLASSIFY, *words) == 0
    assert "broken/warm/0.mp4" in caplog.text and "Skipped" in caplog.text
    assert sum(result(home, "broken")["videos"].values()) == 2 * VIDEOS_A_CLASS - 1


def test_the_same_seed_gives_the_same_result(home: Path) -> None:
    words = ["data.path=videos", "encoder=encoder", "trainer.steps=10"]
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        assert run(home, *CLASSIFY, *words, f"name={name}", f"seed={seed}") == 0
    first, second, third = (
        load_probe(home / "runs" / "probe" / name) for name in ("first", "second", "third")
    )
    assert result(home, "first") == result(home, "second")
    weights = [probe.probe.state_dict()["linear.weight"] for probe in (first, second, third)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])


def test_errors_of_one_test_episode_have_no_interval() -> None:
    numbers = {"euclidean_error": 0.5, "interval": [None, None]}
    test = {**numbers, "episodes": 1, "baseline": {**numbers, "what": "always the mean"}}
    text = _sentence({"test": test, "chosen": {"lr": 0.1, "weight_decay": 0.0}})
    assert text.startswith("euclidean error 0.5 on 1 test episode; always the mean: 0.5; lr 0.1")
