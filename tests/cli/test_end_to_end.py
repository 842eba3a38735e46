"""All commands once at a tiny size: each reads what the previous one wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.cli.commands import COLLECT, EVALUATE, FINETUNE, MODEL, PRETRAIN, run
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.video.reader import open_video
from vjepa_world.models.config import ActionPredictorConfig, EmbodimentConfig, EncoderConfig, WorldModelConfig
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import load_encoder, load_world_model, save_pretrained

DATA, ENCODER, WORLD_MODEL = "runs/collect/first", "runs/pretrain/first", "runs/finetune/first"
STATE = ["0.4", "0.0", "0.3", "3.14", "0.0", "0.0", "0.5"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the arm was recorded, an encoder pretrained and a predictor fine-tuned."""
    folder = tmp_path_factory.mktemp("home")
    assert run(folder, *COLLECT, "name=first") == 0
    assert run(folder, *PRETRAIN, "name=first", f"data.path={DATA}") == 0
    assert run(folder, *FINETUNE, "name=first", f"data.path={DATA}", f"encoder={ENCODER}") == 0
    for name, row in (("now", 0), ("goal", 5)):
        frame = LeRobotDataset(folder / DATA).episode(0).frames([row])[0]
        Image.fromarray(frame.permute(1, 2, 0).numpy()).save(folder / f"{name}.png")
    return folder


def steps(run_folder: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (run_folder / "metrics.jsonl").read_text().splitlines()]


def test_collect_records_a_dataset(home: Path) -> None:
    dataset = LeRobotDataset(home / DATA)
    assert dataset.num_episodes == 2
    for index in range(2):
        episode = dataset.episode(index)
        assert episode.states.shape == (7, 7)
        assert episode.actions.shape == (6, 7)
        assert episode.frames().shape == (7, 3, 64, 64)
        moved = np.diff(episode.states[:, :3], axis=0)
        assert np.abs(moved).max() > 0.01
        assert np.corrcoef(moved.ravel(), episode.actions[:, :3].ravel())[0, 1] > 0.5
    assert not np.array_equal(dataset.episode(0).states, dataset.episode(1).states)
    result = json.loads((home / DATA / "result.json").read_text())
    assert (result["episodes"], result["frames"]) == (2, 14)
    assert result["frames_per_s"] == pytest.approx(14 / result["seconds"])


def test_finetune_freezes_the_pretrained_encoder(home: Path) -> None:
    encoder, model = load_encoder(home / ENCODER), load_world_model(home / WORLD_MODEL)
    assert encoder.config.embed_dim == 24
    theirs = model.encoder.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in encoder.state_dict().items())
    assert steps(home / ENCODER) == steps(home / WORLD_MODEL) == [0, 1]
    line = json.loads((home / ENCODER / "metrics.jsonl").read_text().splitlines()[0])
    assert {"target_std", "target_rank", "untrained_std", "untrained_rank", "loss", "lr"} <= set(line)
    line = json.loads((home / WORLD_MODEL / "metrics.jsonl").read_text().splitlines()[0])
    assert {"val_error", "val_shuffled_actions", "val_copy_last_frame"} <= set(line)


def test_plans_are_bounded_by_the_actions_that_were_recorded(home: Path) -> None:
    """Of the two episodes the last is held out."""
    model, actions = load_world_model(home / WORLD_MODEL), LeRobotDataset(home / DATA).episode(0).actions
    np.testing.assert_array_equal(model.action_low.numpy(), actions.min(axis=0))
    np.testing.assert_array_equal(model.action_high.numpy(), actions.max(axis=0))


def test_evaluate_writes_metrics_and_a_video(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"checkpoint={WORLD_MODEL}", f"controls.untrained={WORLD_MODEL}"]
    assert run(home, *EVALUATE, "name=first", *words) == 0
    folder = home / "runs" / "evaluate" / "first"
    result = json.loads((folder / "result.json").read_text())
    assert result["episodes"] == 1
    assert {"successes", "success_rate", "wilson_low", "wilson_high", "held", "solved_at_reset"} <= set(
        result
    )
    assert set(result["final_distance"]) == {"median", "p90"}
    assert set(result["seconds_per_action"]) == {"p50", "p95", "p99"}
    # The same planner on the same seeds: the control repeats the result.
    assert result["controls"]["untrained encoder"]["final_distance"] == result["final_distance"]
    [video] = (folder / "videos").glob("000_*.mp4")
    assert open_video(video).num_frames == 3 + 1
    table = capsys.readouterr().out
    for row in ("world model", "random actions", "untrained encoder"):
        assert row in table


def test_evaluating_on_the_training_data_is_noticed_and_marked(
    home: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    words = [*EVALUATE, f"checkpoint={WORLD_MODEL}", "env.variation=train"]
    leaking = ["name=leaking", f"pairs_from={DATA}", "episodes=2"]
    assert run(home, *words, *leaking) == 0
    result = json.loads((home / "runs" / "evaluate" / "leaking" / "result.json").read_text())
    assert result["leakage"]["leaks"] is True
    assert result["leakage"]["pairs"] == [0, 1]
    assert {(part["command"], part["use"]) for part in result["leakage"]["seen"]} == {
        ("finetune", "trained"),
        ("finetune", "held_out"),
        ("pretrain", "trained"),
    }
    assert "LEAKAGE: 2 of 2 pairs are known to the checkpoint" in capsys.readouterr().out
    assert "different" not in caplog.text
    assert run(home, *words, "name=few", f"pairs_from={DATA}", "episodes=3") == 0
    assert f"3 pairs requested, and {DATA} has 2 different ones that can be used" in caplog.text
    capsys.readouterr()
    assert run(home, *words, "name=clean") == 0
    result = json.loads((home / "runs" / "evaluate" / "clean" / "result.json").read_text())
    assert (result["leakage"]["leaks"], result["leakage"]["pairs"]) == (False, [])
    assert result["leakage"]["checked"] == {"finetune": 2, "pretrain": 2}
    assert (
        "No pair was seen in training (recorded: finetune 2 episodes, pretrain 2" in capsys.readouterr().out
    )


def test_an_evaluation_is_reproducible_and_resume_runs_it_again(home: Path) -> None:
    words = [*EVALUATE, "name=again", f"checkpoint={WORLD_MODEL}", "seed=5"]
    results = []
    for word in ("resume=false", "resume=true"):
        assert run(home, *words, word) == 0
        results.append(json.loads((home / "runs" / "evaluate" / "again" / "result.json").read_text()))
        assert len(list((home / "runs" / "evaluate" / "again" / "videos").glob("*.mp4"))) == 1
        for metrics in (results[-1], *results[-1]["controls"].values()):
            del metrics["seconds_per_action"]
    assert results[0] == results[1]


def test_plan_prints_actions_inside_the_bounds(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "plan",
        "--image",
        "now.png",
        "--goal",
        "goal.png",
        "--checkpoint",
        WORLD_MODEL,
        "--state",
        *STATE,
    ]
    words += [
        "--planner.num-samples",
        "16",
        "--planner.num-iterations",
        "2",
        "--planner.horizon",
        "3",
        "--device",
        "cpu",
    ]
    assert run(home, *words, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    actions = torch.tensor(first["actions"])
    model = load_world_model(home / WORLD_MODEL)
    assert actions.shape == (3, 7)
    assert bool((actions >= model.action_low - 1e-5).all() and (actions <= model.action_high + 1e-5).all())
    assert first["energy"] > 0
    assert run(home, *words, "--json") == 0
    assert json.loads(capsys.readouterr().out) == first
    assert run(home, *words) == 0
    assert "action 3: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (DATA, ["LeRobotDataset of 2 episodes, 14 frames", "64x64", "delta_x"]),
        (f"{DATA}/videos", ["1 video, ", "h264", "64x64"]),
        (ENCODER, ["encoder, 0.0", "embed_dim=", "made by: pretrain", "data.path="]),
        (
            WORLD_MODEL,
            ["world model, 0.", "predictor ", "actions of 7", "made by: finetune", "encoder=runs/"],
        ),
        (f"{WORLD_MODEL}/checkpoints/step_00000002", ["world model"]),
    ],
)
def test_inspect_describes_what_each_command_wrote(
    home: Path, capsys: pytest.CaptureFixture[str], path: str, words: list[str]
) -> None:
    assert run(home, "inspect", path) == 0
    described = capsys.readouterr().out
    assert [word for word in words if word not in described] == []


def test_details_name_the_commands_that_made_a_checkpoint(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "inspect", WORLD_MODEL, "--details") == 0
    described = capsys.readouterr().out
    assert re.search(r"^  command +finetune$", described, re.M)
    assert re.search(r"^  encoder\.command +pretrain$", described, re.M)
    assert "verb" not in described


@pytest.mark.parametrize("encoder", ["untrained", "pixels"])
def test_finetune_trains_the_controls(home: Path, encoder: str) -> None:
    words = [f"name={encoder}", f"data.path={DATA}", f"encoder={encoder}", *MODEL]
    assert run(home, *FINETUNE, *words) == 0
    model = load_world_model(home / "runs" / "finetune" / encoder)
    assert model.config.encoder_kind == ("pixels" if encoder == "pixels" else "vjepa")


def test_training_continues_with_resume(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [*PRETRAIN, "name=longer", f"data.path={DATA}"]
    assert run(home, *words) == 0
    assert run(home, *words, "trainer.steps=4") == 2
    assert "exists already" in capsys.readouterr().err
    assert run(home, *words, "trainer.steps=4", "resume=true") == 0
    assert steps(home / "runs" / "pretrain" / "longer") == [0, 1, 2, 3]


def other_robot(home: Path, action_dim: int) -> str:
    config = WorldModelConfig(
        encoder=EncoderConfig(image_size=64, num_frames=2, embed_dim=24, depth=1, num_heads=2),
        predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        embodiments=(EmbodimentConfig(action_dim=action_dim),),
    )
    save_pretrained(LatentWorldModel(config), home / f"robot_{action_dim}")
    return f"robot_{action_dim}"


def test_a_checkpoint_with_other_actions_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, *EVALUATE, "name=other", f"checkpoint={other_robot(home, 6)}") == 2
    error = capsys.readouterr().err
    assert "the checkpoint's actions have 6 numbers, the environment's 7; they must be the same" in error
    assert not (home / "runs" / "evaluate" / "other").exists()


def test_a_missing_or_broken_image_is_reported(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "text.png").write_text("not a picture")
    (home / "cut.png").write_bytes((home / "goal.png").read_bytes()[:-200])
    (home / "empty.png").write_bytes(b"")
    words = ["plan", "--image", "now.png", "--checkpoint", WORLD_MODEL, "--state", *STATE, "--goal"]
    assert run(home, *words, "nowhere.png") == 2
    assert "the image nowhere.png does not exist; give a PNG or JPEG file" in capsys.readouterr().err
    no_image = "it is not an image, or its first bytes are damaged"
    for name, reason in (
        ("text.png", f"{no_image} (13 bytes)"),
        ("cut.png", "image file is truncated"),
        ("empty.png", "it has zero bytes"),
    ):
        assert run(home, *words, name) == 2
        assert f"Cannot read {name}: {reason}. Expected a whole " in capsys.readouterr().err


def test_a_state_of_another_size_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "--image", "now.png", "--goal", "goal.png", "--checkpoint", WORLD_MODEL]
    assert run(home, *words, "--state", "0.4", "0.0") == 2
    assert (
        "state has 2 numbers, and runs/finetune/first was trained with states of 7 numbers"
        in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*PRETRAIN, "data.path=empty"], "No video found in empty"),
        ([*PRETRAIN, f"data.path={DATA}", "trainer.lr=0"], "trainer.lr is 0"),
        (
            [*FINETUNE, f"data.path={DATA}", "encoder=nowhere"],
            "nowhere does not exist.*encoder=untrained or encoder=pix",
        ),
        ([*FINETUNE, "data.path=empty", f"encoder={ENCODER}"], "empty holds trajectories of no known format"),
        (
            [*FINETUNE, f"data.path={DATA}", f"encoder={ENCODER}", "objective.rollout=3"],
            "rollout 3 needs windows of 4",
        ),
        (
            [*FINETUNE, f"data.path={DATA}", f"encoder={ENCODER}", "latents.side=3"],
            "latents.side 3 does not divide the 4 tokens",
        ),
        (
            [*EVALUATE, "name=kind", f"checkpoint={ENCODER}"],
            "is of kind encoder, but a world model .* Train one with `vjepa-world finetune encoder=.*runs/",
        ),
        (
            [*EVALUATE, "name=id", f"checkpoint={WORLD_MODEL}", "env.id=Grasp-v0"],
            r"env.id 'Grasp-v0' is not registered; did you mean 'vjepa_world/Grasp-v0'\? .* One of your own",
        ),
        ([*COLLECT, "name=id", "env.id=Grasp-v0"], "env.id 'Grasp-v0' is not registered"),
        ([*COLLECT, "env.variation=tests"], r"'env.variation' got 'tests'; did you mean 'test'\?"),
        (["inspect", "nowhere"], "nowhere does not exist; give a checkpoint or run folder"),
    ],
)
def test_bad_input_is_reported_and_leaves_no_run(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    (home / "empty").mkdir(exist_ok=True)
    before = sorted((home / "runs").glob("*/*"))
    assert run(home, *words) == 2
    assert re.search(message, capsys.readouterr().err)
    assert sorted((home / "runs").glob("*/*")) == before
