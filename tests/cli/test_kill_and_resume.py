"""A pretraining that is killed and resumed many times is bit-identical to an uninterrupted one."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.training.corpora import SMALL, write_corpus
from tests.training.processes import kill, start_command, wait, wait_for_success, wait_until
from tests.training.tiny import metrics
from vjepa_world.pretrained import load_encoder
from vjepa_world.pretrained.native import checkpoint_steps
from vjepa_world.training.engine.checkpoint import load_modules, load_tensors, tensor_shapes

EVERY = 3
JOB = [
    "pretrain",
    *SMALL,
    "trainer.batch_size=4",
    "trainer.workers=1",
    f"trainer.checkpoint_every={EVERY}",
    "objective.pair_fraction=0.25",
    # Weights that take a while to write, so that a save can be met.
    *("model.embed_dim=192", "model.depth=1", "predictor.embed_dim=48"),
]


def run_of(home: Path, name: str) -> Path:
    return home / "runs" / "pretrain" / name


def logged(run: Path) -> int:
    """Return the steps that are logged."""
    log = run / "metrics.jsonl"
    return log.read_text().count("\n") if log.is_file() else 0


def saving(run: Path) -> bool:
    return any((run / "checkpoints").glob(".step_*"))


def tensors(run: Path) -> dict[str, torch.Tensor]:
    """Return all that a resumed run needs."""
    folder = checkpoint_steps(run)[-1]
    # The count of steps is a number, all else is float32.
    found = {name: torch.zeros(shape) for name, shape in tensor_shapes(folder).items()}
    load_tensors(folder, found)
    return found


def assert_checkpoints_complete(run: Path) -> None:
    """Whatever has the name of a checkpoint is one, and no step before the last interval is lost."""
    folders = checkpoint_steps(run)
    for folder in folders:
        load_encoder(folder)
        load_modules(folder)
    done = int(folders[-1].name.removeprefix("step_")) if folders else 0
    # The save at hand may be lost, not the one before it: that is waited for. A step's line comes before its save, so
    # only the next line shows that the save has started.
    last_save = (logged(run) - 1) // EVERY * EVERY
    assert done >= last_save - EVERY


def run_and_kill(home: Path, name: str, draw: random.Random, steps: int) -> bool:
    """Start or resume a run and kill it after a random step or during a save; return whether during a save."""
    run = run_of(home, name)
    resume = ["resume=true"] if run.exists() else []
    [process] = started = start_command([*JOB, f"name={name}", f"trainer.steps={steps}", *resume], home)
    before = logged(run)
    aim = before + draw.randint(1, 2 * EVERY)
    met = draw.random() < 0.5
    assert wait_until(lambda: before > logged(run) or logged(run) >= aim, process), wait(started)[0].error
    if met and wait_until(lambda: saving(run), process):
        time.sleep(draw.uniform(0, 0.02))
    kill(process, signal.SIGKILL)
    assert wait(started)[0].code == -signal.SIGKILL
    return saving(run)


def compare(home: Path, kills: int, steps: int, least_in_a_save: int) -> None:
    write_corpus(home)
    wait_for_success(start_command([*JOB, "name=straight", f"trainer.steps={steps}"], home))
    draw, in_a_save, count = random.Random(0), 0, 0
    while count < kills or in_a_save < least_in_a_save:
        in_a_save += run_and_kill(home, "killed", draw, steps)
        assert_checkpoints_complete(run_of(home, "killed"))
        count += 1
    wait_for_success(start_command([*JOB, "name=killed", f"trainer.steps={steps}", "resume=true"], home))
    straight, killed = run_of(home, "straight"), run_of(home, "killed")
    assert [line["step"] for line in metrics(killed)] == list(range(steps))
    assert metrics(killed) == metrics(straight)  # nine digits distinguish float32 numbers
    ours, theirs = tensors(killed), tensors(straight)
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
    last = f"checkpoints/step_{steps:08d}/model.safetensors"
    assert (killed / last).read_bytes() == (straight / last).read_bytes()
    assert not saving(killed)


def test_a_run_killed_three_times_is_bit_identical(tmp_path: Path) -> None:
    compare(tmp_path, kills=3, steps=60, least_in_a_save=1)


@pytest.mark.slow
def test_a_run_killed_twenty_times_is_bit_identical(tmp_path: Path) -> None:
    compare(tmp_path, kills=20, steps=200, least_in_a_save=5)
