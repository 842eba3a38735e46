"""Every script in examples/ runs on small data, including the output of earlier scripts."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import vjepa_world as vw
from tests.paths import REPO
from tests.recordings import write_dataset
from tests.training.corpora import write_corpus
from vjepa_world.pretrained import read_checkpoint
from vjepa_world.pretrained.meta.writer import write_meta

EXAMPLES = REPO / "examples"
SMALL = vw.EncoderConfig(image_size=64, patch_size=16, num_frames=4, embed_dim=24, depth=1, num_heads=2)


def example(home: Path, name: str, *words: object) -> str:
    """Return what a script prints, run in `home`."""
    environment = {**os.environ, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *map(str, words)],
        cwd=home,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with videos, images in classes, a LeRobot dataset, two encoders and a world model."""
    folder = tmp_path_factory.mktemp("home")
    write_corpus(folder)
    for label, level in (("dark", 60), ("light", 200)):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(6):
            pixels = np.random.default_rng([level, number]).integers(level - 40, level + 40, (64, 80, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / "images" / label / f"{number}.png")
    write_dataset(folder / "dataset")
    vw.save_pretrained(vw.build_encoder(SMALL, seed=0), folder / "encoder")
    still = vw.EncoderConfig(
        image_size=64,
        patch_size=16,
        num_frames=1,
        tubelet_size=1,
        embed_dim=24,
        depth=1,
        num_heads=2,
        positions="sincos",
    )
    vw.save_pretrained(vw.build_encoder(still, seed=0), folder / "ijepa")
    return folder


@pytest.fixture(scope="module")
def world_model(home: Path) -> Path:
    printed = example(
        home,
        "finetune_on_lerobot",
        "encoder",
        "dataset",
        "--steps",
        2,
        "--batch-size",
        2,
        "--run",
        "runs/f/first",
    )
    assert ": 6 episodes at 4 frames per second" in printed
    assert "validation error" in printed
    return home / "runs" / "f" / "first"


def test_there_is_a_test_for_each_example_and_each_is_short() -> None:
    scripts = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    source = Path(__file__).read_text()
    assert [name for name in scripts if f'"{name}"' not in source] == []
    assert [name for name in scripts if f"`{name}.py`" not in (EXAMPLES / "README.md").read_text()] == []
    assert all(lines <= 90 for lines in scripts.values()), scripts


def test_examples_import_the_public_interface_alone() -> None:
    for path in EXAMPLES.glob("*.py"):
        lines = [line for line in path.read_text().splitlines() if line.startswith(("import ", "from "))]
        ours = [line for line in lines if "vjepa_world" in line or "planners" in line or "envs" in line]
        assert set(ours) <= {
            "import vjepa_world as vw",
            *(line for line in ours if line.startswith("from planners ")),
        }


def test_pretrain_on_a_folder(home: Path) -> None:
    printed = example(
        home,
        "pretrain_on_a_folder",
        "videos",
        "--fps",
        12,
        "--run",
        "runs/p",
        "--steps",
        2,
        "--batch-size",
        2,
    )
    assert "0.mp4: 512 tokens of width 192" in printed  # 8 x 8 x 8
    assert vw.load_encoder(home / "runs" / "p").config.num_frames == 16


def test_embed_compare_classify_images_with_i_jepa(home: Path) -> None:
    printed = example(
        home, "embed_compare_classify", "ijepa", "images", "--run", "runs/images", "--steps", 20
    )
    assert "12 files -> features [12, 16, 24]" in printed
    assert " 1.000  images/dark/0.png" in printed
    assert "accuracy on" in printed
    assert "images/dark/0.png: " in printed.splitlines()[-1]


def test_embed_compare_classify_videos(home: Path) -> None:
    for label in ("a", "b"):
        (home / "made" / label).mkdir(parents=True)
        write_corpus(home / "made" / label, videos=4)
        (home / "clips").mkdir(exist_ok=True)
        (home / "made" / label / "videos").rename(home / "clips" / label)
    printed = example(home, "embed_compare_classify", "encoder", "clips", "--run", "runs/clips", "--steps", 2)
    assert "8 files -> features [8, 32, 24]" in printed


def test_finetune_on_lerobot(home: Path, world_model: Path) -> None:
    assert vw.load_world_model(world_model).action_low.shape == (2,)


def test_finetune_on_features(home: Path) -> None:
    printed = example(home, "finetune_on_features", "--recorded", 8, "--steps", 2, "--run", "runs/features")
    assert "validation error" in printed
    assert "true [0.1" in printed or "true [0.09" in printed


def test_open_loop_report(home: Path, world_model: Path) -> None:
    words = ("--windows", 4, "--horizon", 2, "--samples", 8)
    printed = example(home, "open_loop_report", world_model, "dataset", *words)
    assert "Do its predictions depend on the actions?" in printed
    assert (home / "open_loop.html").stat().st_size > 10_000


def test_plan_with_own_model(home: Path) -> None:
    printed = example(home, "plan_with_own_model", "--steps", 50)
    assert "2.50 s: +1.00 (1 is upright)" in printed


def test_plan_in_own_environment(home: Path) -> None:
    words = ("--recorded", 4, "--steps", 2, "--episodes", 2, "--run", "runs/dot")
    printed = example(home, "plan_in_own_environment", *words)
    assert "95 % interval" in printed


def test_evaluate_in_stable_worldmodel(home: Path) -> None:
    pytest.importorskip("stable_worldmodel")
    words = ("two_room", "--folder", "runs/w", "--recorded", 2, "--recorded-steps", 32, "--steps", 2)
    printed = example(home, "evaluate_in_stable_worldmodel", *words, "--episodes", 3, "--image-size", 32)
    assert "world model, strict: " in printed and " of 3 episodes begin at their goal" in printed


def test_load_released_checkpoint(home: Path) -> None:
    write_meta(read_checkpoint(home / "encoder"), home / "released.pt")
    printed = example(
        home,
        "load_released_checkpoint",
        "released.pt",
        "stored",
        "--config",
        '{"image_size": 64, "num_heads": 2}',
    )
    assert "4 frames of 64 pixels -> 32 tokens of width 24" in printed
    first, second = vw.load_encoder(home / "encoder"), vw.load_encoder(home / "stored")
    theirs = second.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in first.state_dict().items())
