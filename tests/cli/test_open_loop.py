"""`evaluate-open-loop` on the command line, with a recorded arm and a tiny model."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.cli.commands import COLLECT, run
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    WorldModelConfig,
)
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import save_pretrained

DATA = "runs/collect/first"
OPEN_LOOP = [
    "evaluate-open-loop",
    "device=cpu",
    "threads=1",
    f"data.path={DATA}",
    "open_loop.horizon=2",
    "open_loop.samples=5",
    "open_loop.points=3",
    "open_loop.pictures=1",
    "planner.num_samples=8",
    "planner.num_iterations=1",
    "planner.num_elites=2",
]


def save_model(
    folder: Path, *, action_dim: int = 7, decoder: int = 0, held_out: list[int] | None = None
) -> None:
    config = WorldModelConfig(
        encoder=EncoderConfig(image_size=64, patch_size=16, num_frames=2, embed_dim=24, depth=1, num_heads=2),
        predictor=ActionPredictorConfig(embed_dim=24, depth=1, num_heads=2),
        latents=LatentsConfig(kind="none"),
        embodiments=(EmbodimentConfig(action_dim=action_dim), EmbodimentConfig(name="other", action_dim=2)),
        inverse=InverseConfig(horizon=0),
        decoder=DecoderConfig(image_size=decoder, embed_dim=24, depth=1, num_heads=2),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LatentWorldModel(config)
    if action_dim == 7:
        reach = torch.tensor([0.075, 0.075, 0.075, 0.0, 0.0, 0.0, 0.0])
        model.action_low.copy_(-reach)
        model.action_high.copy_(reach)
    provenance = {} if held_out is None else {"held_out": {str(folder.parent / DATA): held_out}}
    save_pretrained(model, folder, provenance=provenance)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the arm was recorded, and with models that were not trained at all."""
    folder = tmp_path_factory.mktemp("home")
    assert run(folder, *COLLECT, "name=first", "episodes=3", "steps=4") == 0
    save_model(folder / "plain")
    save_model(folder / "drawing", decoder=16, held_out=[1])
    save_model(folder / "six", action_dim=6)
    return folder


def result_of(home: Path, name: str) -> dict[str, object]:
    found = json.loads((home / "runs" / "evaluate_open_loop" / name / "result.json").read_text())
    assert isinstance(found, dict)
    return found


def test_an_unknown_dataset_is_used_completely_with_a_note(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, *OPEN_LOOP, "checkpoint=plain", "name=whole") == 0
    result = result_of(home, "whole")
    # Five observations of an episode make three windows of three.
    assert (result["mode"], result["episodes"], result["windows"], result["fps"]) == ("open_loop", 3, 9, 4.0)
    assert [line["horizon"] for line in result["horizons"]] == [1, 2]  # type: ignore[attr-defined]
    assert {"rank_correlation", "valley_offset", "recovered", "camera_rotation", "outside_bounds"} <= set(
        result
    )
    assert result["camera_rotation"] is not None
    printed = capsys.readouterr().out
    assert "Do its predictions depend on the actions?" in printed
    assert "is not one of them" in printed
    page = (home / "runs" / "evaluate_open_loop" / "whole" / "report.html").read_text()
    assert "no pixel decoder" in page
    for kind, count in (("plane", 2), ("actions", 3), ("directions", 1)):
        assert page.count(f'<figure class="card {kind}">') == count
    assert page.count('<table class="images">') == 1


def test_only_held_out_episodes_are_used(home: Path) -> None:
    assert run(home, *OPEN_LOOP, "checkpoint=drawing", "name=held_out") == 0
    result = result_of(home, "held_out")
    assert (result["episodes"], result["windows"]) == (1, 3)
    [note] = list(result["notes"])  # type: ignore[call-overload]
    assert (
        "does not know its episodes by their content" in note
    )  # as checkpoints did that were written before
    assert (
        "no pixel decoder"
        not in (home / "runs" / "evaluate_open_loop" / "held_out" / "report.html").read_text()
    )
    assert run(home, *OPEN_LOOP, "checkpoint=drawing", "name=all", "data.split=all", "data.windows=5") == 0
    assert result_of(home, "all")["windows"] == 5


def test_it_is_reproducible(home: Path) -> None:
    words = [*OPEN_LOOP, "checkpoint=plain", "name=again", "data.windows=4"]
    assert run(home, *words) == 0
    first = result_of(home, "again")
    assert run(home, *words, "resume=true") == 0
    assert result_of(home, "again") == first


def on(path: Path, *words: str) -> list[str]:
    """Return the command line on another dataset."""
    return [word for word in OPEN_LOOP if not word.startswith("data.path")] + [f"data.path={path}", *words]


def test_a_bad_episode_is_reported_and_left_out(home: Path, tmp_path: Path) -> None:
    shutil.copytree(home / DATA, tmp_path / "broken")
    [file] = (tmp_path / "broken" / "data").rglob("*.parquet")
    table = pq.read_table(file)
    states = table["observation.state"].to_pylist()
    states[table["episode_index"].to_pylist().index(1)][0] = float("nan")
    column_index = table.schema.get_field_index("observation.state")
    pq.write_table(
        table.set_column(
            column_index, table.field(column_index), pa.array(states, table.field(column_index).type)
        ),
        file,
    )
    words = on(tmp_path / "broken", "checkpoint=plain", "name=broken")
    assert run(home, *words) == 2
    assert run(home, *words, "data.max_bad_fraction=0.5") == 0
    result = result_of(home, "broken")
    assert (result["episodes"], result["windows"], result["bad_episodes"]) == (2, 6, 1)
    assert "episode 1" in (home / "runs" / "evaluate_open_loop" / "broken" / "bad_episodes.csv").read_text()


def test_videos_that_cannot_be_decoded_stop_it(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(home / DATA, tmp_path / "cut")
    for video in (tmp_path / "cut" / "videos").rglob("*.mp4"):
        video.write_bytes(video.read_bytes()[:2000])
    assert run(home, *on(tmp_path / "cut", "checkpoint=plain", "name=cut")) == 2
    assert "episodes are bad; data.max_bad_fraction" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data.path=???"], "'data.path' is not given and has no default: give data.path=DATASET"),
        (["planner.horizon=2"], "planner.horizon is 2, and an open loop looks for single actions"),
        (
            ["checkpoint=six"],
            "actions of .*first have 7 numbers, those of the checkpoint's robot 'default' 6",
        ),
        (["data.embodiment=other"], "robot 'other' 2; choose data.embodiment"),
        (["data.cameras=[front,wrist]"], "the model sees 1 of the cameras"),
        (["open_loop.horizon=9"], "0 windows of 10 frames; at least 2 are needed"),
        (["open_loop.samples=2"], "open_loop.samples is 2; it must be at least 3"),
        (["data.windows=1"], "data.windows is 1; it must be at least 2"),
        (["data.split=train"], "held_out, all"),
        (["mode=open_loop"], r"unknown key 'mode'; allowed: .*name, .*and \d+ more \(see --help-all\)"),
    ],
)
def test_impossible_options_are_reported(
    home: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(home, *OPEN_LOOP, "checkpoint=plain", "name=refused", *words) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert not (home / "runs" / "evaluate_open_loop" / "refused").exists()


def test_a_correction_rotates_the_planned_actions(home: Path) -> None:
    """The fitted angle is the remaining rotation: smaller by the correction, where no bound clips."""
    words = [*OPEN_LOOP, "checkpoint=plain", "data.windows=9"]
    assert run(home, *words, "name=straight") == 0
    assert run(home, *words, "name=turned", "execution.camera_rotation_deg=90") == 0
    angles = [result_of(home, name)["camera_rotation"]["angle_deg"] for name in ("straight", "turned")]  # type: ignore[index]
    assert (angles[0] - angles[1]) % 360 == pytest.approx(90, abs=1)
