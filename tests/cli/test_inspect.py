"""`inspect` describes a corpus or dataset and reports its problems."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.cli.commands import ENV, run
from tests.data.arm_motion import arm_episodes
from tests.data.coded_video import write_coded
from tests.data.conftest import make_writer
from tests.data.trajectories.formats.test_ogbench import saved as save_ogbench
from vjepa_world.ops.convention import Convention


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inspect")
    (root / "images").mkdir()
    for name in ("a", "b"):
        video = write_coded(root / f"{name}.mp4", range(0, 2000, 100))
        with tarfile.open(root / f"{name}.tar", "w") as tar:
            tar.add(video, "inside.mp4")
        Image.new("RGB", (40, 30)).save(root / "images" / f"{name}.png")
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "BMP")
    (root / "images" / "c.bmp").write_bytes(picture.getvalue())
    (root / "images" / "d.jpg").touch()
    (root / "list.csv").write_text("path,start,end\na.mp4,0,1\na.mp4,1,2\nb.mp4,,\ngone.mp4,,\n")
    return root


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        (
            "list.csv",
            ["list.csv: 2 videos, 4.0 s in all, 1 bad", "video segments: 3", "No such video file: gone.mp4"],
        ),
        ("{a,b}.tar", ["{a,b}.tar: 2 videos, 4.0 s in all, 0 bad", "inside.mp4", "h264 at 10.00/s  ####"]),
        ("*.mp4", ["*.mp4: 2 videos", "rates: 10.00 to 10.00 frames/s", "##### 2"]),
        (
            "images",
            ["images: 3 images, 1 bad", "codecs: png (2), bmp (1)", "sizes: 40x30 (2), 8x8 (1)", "d.jpg"],
        ),
    ],
)
def test_a_corpus_is_described(
    home: Path, path: str, parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(home, "inspect", path) == 0
    text = capsys.readouterr().out
    for part in parts:
        assert part in text


def test_a_missing_path_is_an_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in ("{a,c}.tar", "*.webm", "nowhere.parquet"):
        assert run(home, "inspect", path) == 2
    assert "No such file or folder: c.tar" in capsys.readouterr().err


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset of three episodes whose poses are in millimetres and degrees, the second one broken."""
    root = tmp_path_factory.mktemp("arm")
    names = ("x", "y", "z", "roll", "pitch", "yaw", "closure")
    writer = make_writer(root / "set", (32, 32, 3), state_names=names, action_names=names)
    written = Convention(position_unit="mm", angle_unit="deg", actions="delta")
    with writer.shard(0) as out:
        for index, episode in enumerate(arm_episodes(written, count=3, rows=40)):
            frames = np.random.default_rng(index).integers(0, 255, (40, 32, 32, 3), dtype=np.uint8)
            out.add_episode(frames, episode.states, episode.actions, task="wander")
    writer.finalize()
    [file] = (root / "set" / "data").rglob("*.parquet")
    table = pq.read_table(file)
    column_index = table.column_names.index("observation.state")
    states = table["observation.state"].to_pylist()
    states[40 + 7][2] = float("nan")
    column = pa.array(states, table.schema.field("observation.state").type)
    pq.write_table(table.set_column(column_index, table.schema.field(column_index), column), file)
    return root


def test_a_dataset_is_described_with_its_problems(arm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arm, "inspect", "set", "--convention", "actions=delta") == 0
    text = capsys.readouterr().out
    for part in (
        "set: LeRobotDataset of 3 episodes, 80 frames at 5/s",
        "tasks: wander (2)",
        "camera: main, 32x32, h264",
        "position  x, y, z (state 0, 1, 2) in m",
        "actions   changes of the pose, in the standard convention",
        "bad episodes: 1",
        "episode 1, row 7",
        "error, position unit, episode 0, row 0",
        "set position_unit=mm",
        "error, angle unit, episode 0, row 0",
        "set angle_unit=deg",
        "picture: runs/inspect/set.png",
    ):
        assert part in text, part
    with Image.open(arm / "runs" / "inspect" / "set.png") as picture:
        assert picture.size[0] > 1000
        assert (
            len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 1000
        )  # there are frames in it


def test_a_failed_plot_leaves_the_description_complete(
    arm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs").touch()  # as where nothing may be written
    assert run(tmp_path, "inspect", str(arm / "set")) == 0
    text = capsys.readouterr().out
    assert "LeRobotDataset of 3 episodes" in text
    assert "no picture: Cannot write runs/inspect/set.png: " in text
    assert run(tmp_path, "inspect", str(arm / "set"), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["picture"], found["num_episodes"]) == (None, 3)
    assert "Cannot write" in found["no_picture"]
    assert run(tmp_path, "inspect", str(arm / "set"), "--picture", "runs/a.png") == 2  # asked for by name
    said = capsys.readouterr()
    assert "LeRobotDataset of 3 episodes" in said.out
    assert "error: Cannot write runs/a.png" in said.err


def test_a_correct_declaration_has_no_findings(arm: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--convention", "position_unit=mm", "angle_unit=deg", "actions=delta", "--json"]
    assert run(arm, "inspect", "set", *words, "--picture", "pictures/two.png", "--episode", "2") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["findings"] == []
    assert list(found["bad"]) == ["1"]
    assert found["convention"]["angle_unit"] == "deg"
    assert found["num_episodes"] == 3
    assert found["lengths"] == [40, 40]
    assert found["picture"] == "pictures/two.png"
    assert (arm / "pictures" / "two.png").stat().st_size > 10_000
    before = set(arm.rglob("*.png"))
    assert run(arm, "inspect", "set", "--no-picture", "--checks", "1") == 0
    text = capsys.readouterr().out
    assert "(1 of them read)" in text
    assert "pose      none is declared" in text
    assert "picture" not in text
    assert set(arm.rglob("*.png")) == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--episode", "1"], "row 7"),
        (["--episode", "9"], "no episode 9"),
        (["--checks", "0"], "'checks' got 0, expected a number from 1 to"),
        (["--convention", "mm"], "--convention is given without a value; give --convention NAME=VALUE"),
        (["--convention", "position_units=mm"], "'convention.position_units'; did you mean 'position_unit'?"),
        (["--convention", "rotation=quat"], "rotation 'quat' is not known"),
        (["--reader", "stat=x"], "has no option 'stat'; did you mean 'state'?"),
        (["--picture", "a.jpg"], "give the name of a .png file"),
        (["--picture", "a.png", "--no-picture"], "leave one of them out"),
        (["--weights", "encoder"], "weights is about a checkpoint"),
    ],
)
def test_wrong_dataset_options_are_errors(
    arm: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arm, "inspect", "set", *words) == 2
    assert message in capsys.readouterr().err


def test_dataset_options_are_refused_for_other_inputs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "inspect", "images", "--json", "--checks", "3") == 2
    assert "checks, json are about trajectories, and images holds none" in capsys.readouterr().err


def test_simulated_datasets_have_no_findings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "collect", "name=sim", "episodes=4", "steps=24", "workers=1", *ENV) == 0
    capsys.readouterr()
    words = ["--convention", "actions=delta", "--json", "--no-picture"]
    assert run(tmp_path, "inspect", "runs/collect/sim", *words) == 0
    found = json.loads(capsys.readouterr().out)
    assert {finding["check"] for finding in found["findings"]} <= {"constant columns"}
    assert {finding["severity"] for finding in found["findings"]} <= {"note"}
    assert found["bad"] == {}


def test_robot_data_in_a_folder_of_videos_is_reported(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(home / "a.mp4", tmp_path)
    save_ogbench(tmp_path).rename(tmp_path / "arm.npz")
    assert run(tmp_path, "inspect", ".") == 0
    text = capsys.readouterr().out
    assert "1 video, 2.0 s in all" in text
    assert text.endswith("robot data, not described here; inspect it by its own path: arm.npz (OGBench)\n")


def test_an_npz_file_of_no_known_format_is_not_read_as_a_video(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "odd.npz", images=np.zeros((3, 4)))
    assert run(tmp_path, "inspect", "odd.npz") == 2
    error = capsys.readouterr().err
    assert "odd.npz holds trajectories of no known format" in error and "OGBench: an npz file" in error


def test_pretraining_on_robot_data_without_videos_points_to_convert(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_ogbench(tmp_path).rename(tmp_path / "arm.npz")
    assert run(tmp_path, "pretrain", "data.path=arm.npz", "name=x", "device=cpu") == 2
    assert "arm.npz is robot data without video files. Convert it" in capsys.readouterr().err
    assert run(tmp_path, "pretrain", "arm.npz") == 2
    assert (
        "got 'arm.npz', expected key=value. If it is a path, give data.path=arm.npz."
        in capsys.readouterr().err
    )


def test_runs_without_a_checkpoint_and_folders_of_runs_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "runs/pretrain/a").mkdir(parents=True)
    (tmp_path / "runs/pretrain/a/config.yaml").touch()
    assert run(tmp_path, "inspect", "runs/pretrain/a") == 2
    assert "runs/pretrain/a is a run without a checkpoint; it has config.yaml" in capsys.readouterr().err
    assert run(tmp_path, "inspect", "runs/pretrain") == 2
    assert "runs/pretrain is a folder of runs; inspect one of them: a" in capsys.readouterr().err


def test_a_file_of_no_known_kind_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.md").write_text("text")
    assert run(tmp_path, "inspect", "notes.md") == 2
    assert "notes.md is not a checkpoint, robot data, a video, an image" in capsys.readouterr().err


def test_the_shipped_model_is_described_by_its_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "inspect", "shipped") == 0
    assert "world model, 5.77 M parameters" in capsys.readouterr().out
