"""`finetune` on the command line: the feature cache, training from pixels, several robots, two processes."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.commands import COLLECT, FINETUNE, PRETRAIN, run
from tests.training.processes import start_all, start_command, wait, wait_for_success
from tests.training.tiny import metrics
from vjepa_world.data.trajectories.convert import ConversionConfig, convert_trajectories
from vjepa_world.pretrained import load_world_model

DATA, ENCODER = "runs/collect/arm", "runs/pretrain/arm"
SMALL = ["inverse.embed_dim=24", "inverse.depth=1", "inverse.num_heads=2"]
SMALL += ["decoder.image_size=16", "decoder.embed_dim=24", "decoder.depth=1", "decoder.num_heads=2"]
WORDS = [*FINETUNE, *SMALL, f"encoder={ENCODER}", "latents.side=2", "data.frames=4", "objective.rollout=3"]
WORDS += ["trainer.precision=float32"]  # curves are compared, on hardware with bfloat16 too


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finetune")
    assert run(folder, *COLLECT, "name=arm") == 0
    assert run(folder, *PRETRAIN, "name=arm", f"data.path={DATA}", "trainer.steps=1") == 0
    return folder


def losses(home: Path, name: str) -> list[float]:
    return [line["loss"] for line in metrics(home / "runs" / "finetune" / name)]


def caches(home: Path) -> list[Path]:
    return sorted((home / "runs" / "features").glob("*-*"))


@pytest.fixture(scope="module")
def decoded(home: Path) -> list[float]:
    """The losses of a run that decodes and encodes its frames at each step."""
    assert run(home, *WORDS, f"data.path={DATA}", "name=decoded", "features.cache=false") == 0
    return losses(home, "decoded")


def test_features_are_computed_once_and_reused(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert run(home, *WORDS, f"data.path={DATA}", "name=first") == 0
        assert "frames to compute: 14" in caplog.text
        caplog.clear()
        assert run(home, *WORDS, f"data.path={DATA}", "name=second") == 0
    assert "features of runs/collect/arm are in" in caplog.text
    assert losses(home, "first") == losses(home, "second")
    assert run(home, *WORDS, f"data.path={DATA}", "name=other", "latents.side=4") == 0
    assert len(caches(home)) == 2


def test_without_the_cache_the_losses_are_the_same_but_for_rounding(home: Path, decoded: list[float]) -> None:
    """The cache keeps bfloat16."""
    assert run(home, *WORDS, f"data.path={DATA}", "name=cached", "features.cache=true") == 0
    assert decoded == pytest.approx(losses(home, "cached"), rel=5e-3)
    assert decoded != losses(home, "cached")


def test_augmentation_disables_the_cache_with_a_note(
    home: Path, decoded: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    words = [*WORDS, f"data.path={DATA}", "data.crop_scale=[0.6,0.9]", "data.color_jitter=0.3"]
    with caplog.at_level(logging.INFO):
        assert run(home, *words, "name=augmented", "features.root=nowhere") == 0
    assert "the feature cache is off" in caplog.text
    assert not (home / "nowhere").exists()
    assert losses(home, "augmented") != pytest.approx(decoded, rel=1e-3)


def test_a_cache_of_another_encoder_is_refused_by_name(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *WORDS, f"data.path={DATA}", "name=mine") == 0
    folder = caches(home)[0]
    words = [*WORDS, f"data.path={DATA}", "encoder=untrained", "name=foreign", f"features.folder={folder}"]
    small = [
        "model.image_size=64",
        "model.embed_dim=24",
        "model.depth=1",
        "model.num_heads=2",
        "model.num_frames=2",
    ]
    assert run(home, *words, *small) == 2
    assert "the encoder has other weights" in capsys.readouterr().err


def test_two_robots_of_different_sizes_in_one_model(home: Path) -> None:
    """The second is the first with three numbers of its state for both, as some logs have them."""
    copy = home / "points"
    if not copy.exists():
        convert_trajectories(ConversionConfig(source=home / DATA, destination=copy), workers=1)
        shutil.rmtree(copy / "meta" / "vjepa_world.json", ignore_errors=True)
        (copy / "meta" / "vjepa_world.json").unlink(missing_ok=True)
    sources = [
        f"data.sources.arm.path={DATA}",
        "data.sources.points.path=points",
        "data.sources.points.weight=2",
    ]
    sources += [
        "data.sources.points.reader.state=observation.state",
        "data.sources.points.reader.action=timestamp",
    ]
    assert run(home, *WORDS, *sources, "name=two", "trainer.steps=6", "predictor.predict_state=true") == 0
    arm = load_world_model(home / "runs/finetune/two")
    points = load_world_model(home / "runs/finetune/two", embodiment="points")
    assert (arm.embodiment, arm.action_low.shape) == ("arm", (7,))
    assert (points.embodiment, points.action_low.shape) == ("points", (1,))
    assert "val_error_arm" in metrics(home / "runs/finetune/two")[-1]
    held_out = json.loads((home / "runs/finetune/two/checkpoints/step_00000006/config.json").read_text())
    assert set(held_out["provenance"]["held_out"]) == {DATA, "points"}


def next_step(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the words of the command that was just recommended."""
    return shlex.split(capsys.readouterr().out.split("try it with: vjepa-world ")[1].splitlines()[0])


def test_the_next_step_that_is_recommended_works(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, *WORDS, f"data.path={DATA}", "name=simulated") == 0
    assert next_step(capsys) == ["evaluate", "checkpoint=runs/finetune/simulated", "env.image_size=64"]
    real = home / "a real robot"
    shutil.copytree(home / DATA, real)
    info = json.loads((real / "meta" / "info.json").read_text())
    (real / "meta" / "info.json").write_text(json.dumps({**info, "robot_type": "so101"}))
    declared = json.loads((real / "meta" / "vjepa_world.json").read_text())
    del declared["environment"]
    (real / "meta" / "vjepa_world.json").write_text(json.dumps(declared))
    assert run(home, *WORDS, f"data.path={real}", "data.val_fraction=0", "name=real") == 0
    words = next_step(capsys)
    assert words[:2] == ["evaluate-open-loop", "checkpoint=runs/finetune/real"]
    small = [
        "open_loop.horizon=2",
        "data.windows=4",
        "open_loop.samples=3",
        "open_loop.points=3",
        "device=cpu",
    ]
    assert run(home, *words, *small, "planner.num_samples=8", "planner.num_iterations=1", "threads=1") == 0


def test_an_episode_that_cannot_be_read_is_skipped_and_reported(home: Path) -> None:
    copy = home / "broken"
    shutil.copytree(home / DATA, copy)
    assert run(home, *COLLECT, "name=more", "episodes=4") == 0
    shutil.rmtree(copy)
    shutil.copytree(home / "runs/collect/more", copy)
    import pyarrow as pa
    import pyarrow.parquet as pq

    (file,) = copy.glob("data/*/*.parquet")
    table = pq.read_table(file)
    states = np.array(table["observation.state"].to_pylist(), dtype=np.float32)
    states[10, 2] = np.nan  # row 3 of episode 1
    column = pa.FixedSizeListArray.from_arrays(pa.array(states.ravel()), 7)
    pq.write_table(
        table.set_column(table.column_names.index("observation.state"), "observation.state", column), file
    )
    assert run(home, *WORDS, "data.path=broken", "name=broken", "data.max_bad_fraction=0.3") == 0
    listed = (home / "runs/finetune/broken/bad_episodes.csv").read_text()
    assert "episode 1" in listed
    assert "row 3" in listed
    assert run(home, *WORDS, "data.path=broken", "name=refused", "data.max_bad_fraction=0.2") == 2
    assert not (home / "runs/finetune/refused").exists()


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_have_the_loss_curve_of_one(home: Path, parallel: str) -> None:
    words = [*WORDS, f"data.path={DATA}", "trainer.batch_size=4", "trainer.steps=6", "trainer.accumulate=2"]
    words += [
        "latents.kind=queries",
        "latents.embed_dim=24",
        "latents.num_heads=2",
        "predictor.predict_state=true",
    ]
    words += [f"trainer.parallel={parallel}", "features.root=shared"]
    for world_size in (1, 2):
        wait_for_success(start_all([[*words, f"name={parallel}{world_size}"]], home, world_size))
    one, two = (metrics(home / "runs/finetune" / f"{parallel}{size}") for size in (1, 2))
    for metric in (
        "loss",
        "gradient_norm",
        "loss_inverse",
        "loss_decoder",
        "loss_reconstruct",
        "val_error_rollout",
    ):
        found = [line[metric] for line in two]
        assert found == pytest.approx([line[metric] for line in one], rel=1e-4), metric


def test_a_batch_that_processes_cannot_share_is_refused(home: Path) -> None:
    words = [*WORDS, f"data.path={DATA}", "trainer.batch_size=3", "name=uneven"]
    finished = wait(start_command(words, home, world_size=2))
    assert [one.code for one in finished] == [2, 2]
    assert "trainer.batch_size 3 cannot be shared by 2 processes" in finished[0].error
    assert not (home / "runs/finetune/uneven").exists()
