"""The training loop: exact resume, signals, non-finite losses, checkpoints and logs."""

from __future__ import annotations

import io
import math
import os
import pickle
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PosixPath
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.tiny import (
    LineTask,
    MovingDots,
    assert_same_state,
    fit,
    metrics,
    pretrain_task,
    run_folder,
    trainer_config,
)
from vjepa_world.errors import CheckpointError, ConfigError, TrainingError
from vjepa_world.ops.schedules import warmup_constant_cooldown
from vjepa_world.training.engine.checkpoint import Checkpoints, _IndexUnpickler, load_modules, load_tensors
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.finetune.config import FinetuneObjective
from vjepa_world.training.pretrain.objectives.config import JEPAConfig


def checkpoints(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def assert_same_optimizer(left: Trainer, right: Trainer) -> None:
    ours, theirs = left.optimizer.state_dict(), right.optimizer.state_dict()
    assert ours["param_groups"] == theirs["param_groups"]
    for index, state in ours["state"].items():
        for name, tensor in state.items():
            assert torch.equal(tensor, theirs["state"][index][name]), (index, name)


def test_an_interrupted_and_resumed_pretraining_is_bit_equal_to_an_uninterrupted_one(tmp_path: Path) -> None:
    config = trainer_config()
    straight = pretrain_task(config)
    trainer = fit(straight, config, run_folder(tmp_path, "straight"))

    interrupted = pretrain_task(config, MovingDots(4, interrupt_at=2 * 4 + 1))  # while step 2's batch is made
    with pytest.raises(KeyboardInterrupt):
        fit(interrupted, config, run_folder(tmp_path, "stopped"))
    assert checkpoints(tmp_path / "stopped") == ["step_00000003"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    torch.manual_seed(99)  # what the process did before must not matter
    resumed = pretrain_task(config, seed=0)
    again = fit(resumed, config, tmp_path / "stopped", resume=True)
    assert metrics(tmp_path / "stopped") == metrics(tmp_path / "straight")
    assert [line["step"] for line in metrics(tmp_path / "stopped")] == [0, 1, 2, 3, 4, 5]
    assert_same_state(straight.modules, resumed.modules)
    assert_same_optimizer(trainer, again)
    names = ("model.safetensors", "config.json")
    one, other = (tmp_path / run / "checkpoints" / "step_00000006" for run in ("straight", "stopped"))
    assert [(one / name).read_bytes() for name in names] == [(other / name).read_bytes() for name in names]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_finishes_the_step_and_saves(tmp_path: Path, number: signal.Signals) -> None:
    config, before = trainer_config(), signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        fit(LineTask(config, signal_at={1: number}), config, run_folder(tmp_path))
    assert signal.getsignal(number) == before
    assert checkpoints(tmp_path / "run") == ["step_00000002"]
    task, straight = LineTask(config), LineTask(config)
    fit(task, config, tmp_path / "run", resume=True)
    assert task.stepped == [2, 3, 4, 5]
    fit(straight, config, run_folder(tmp_path, "straight"))
    assert_same_state(task.modules, straight.modules)


class BlockingTask(LineTask):
    """Blocks forever at a given point, and signals its own process once it does."""

    def __init__(self, config: TrainerConfig, number: signal.Signals, where: str, at: int) -> None:
        super().__init__(config)
        self.number, self.where, self.at, self.asked_s = number, where, at, 0.0

    def _wait(self) -> None:
        self.asked_s = time.monotonic()
        os.kill(os.getpid(), self.number)
        while time.monotonic() < self.asked_s + 20:
            time.sleep(0.05)

    def batches(self, start_step: int) -> Iterator[Tensor]:
        for step, batch in enumerate(super().batches(start_step), start=start_step):
            if (self.where, self.at) == ("data", step):
                self._wait()
            yield batch

    def forward_passes(self, batch: Tensor, step: int) -> Sequence[Callable[[], dict[str, Tensor]]]:
        if (self.where, self.at) == ("step", step):
            self._wait()
        return super().forward_passes(batch, step)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["data", "step"])
def test_a_signal_interrupts_a_wait_within_a_second_and_saves(
    tmp_path: Path, number: signal.Signals, where: str
) -> None:
    config, before = trainer_config(), signal.getsignal(signal.SIGALRM)
    stuck = BlockingTask(config, number, where, at=3)
    with pytest.raises(KeyboardInterrupt):
        fit(stuck, config, run_folder(tmp_path))
    assert time.monotonic() - stuck.asked_s < 2  # saving included
    assert (signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)) == (before, (0.0, 0.0))
    assert stuck.stepped == [0, 1, 2]
    assert checkpoints(tmp_path / "run")[-1] == "step_00000003"
    task, straight = LineTask(config), LineTask(config)
    fit(task, config, tmp_path / "run", resume=True)
    assert task.stepped == [3, 4, 5]
    fit(straight, config, run_folder(tmp_path, "straight"))
    assert_same_state(task.modules, straight.modules)
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")


@pytest.mark.parametrize("cut", ["", '{"step": 4, "lo'])
def test_after_a_crash_no_step_is_logged_twice(tmp_path: Path, cut: str) -> None:
    """The crash comes at step 5, the checkpoint is of step 3: steps 3 and 4 are done and logged again."""
    config = trainer_config(checkpoint_every=3)
    with pytest.raises(TrainingError):
        fit(LineTask(config, nan_at=5), config, run_folder(tmp_path))
    assert [line["step"] for line in metrics(tmp_path / "run")] == [0, 1, 2, 3, 4]
    with (tmp_path / "run" / "metrics.jsonl").open("a") as stream:
        stream.write(cut)
    task, straight = LineTask(config), LineTask(config)
    fit(task, config, tmp_path / "run", resume=True)
    assert task.stepped == [3, 4, 5]
    fit(straight, config, run_folder(tmp_path, "straight"))
    assert metrics(tmp_path / "run") == metrics(tmp_path / "straight")
    assert_same_state(task.modules, straight.modules)


def test_a_loss_that_is_not_finite_stops_before_the_update(tmp_path: Path) -> None:
    config = trainer_config(checkpoint_every=2)
    task, good = LineTask(config, nan_at=4), LineTask(trainer_config(steps=6))
    message = "the loss of step 4 is nan; stopped before the update.*smaller trainer.lr or trainer.precision=float32"
    with pytest.raises(TrainingError, match=message):
        fit(task, config, run_folder(tmp_path))
    assert task.stepped == [0, 1, 2, 3]
    assert checkpoints(tmp_path / "run") == ["step_00000002", "step_00000004"]
    good.modules.load_state_dict(load_modules(tmp_path / "run"))
    assert_same_state(task.modules, good.modules)


def test_a_finished_run_has_nothing_left_to_do(tmp_path: Path) -> None:
    config = trainer_config()
    fit(LineTask(config), config, run_folder(tmp_path))
    before = metrics(tmp_path / "run")
    task = LineTask(config)
    fit(task, config, tmp_path / "run", resume=True)
    assert task.stepped == []
    assert metrics(tmp_path / "run") == before


def test_fewer_steps_than_are_done_are_refused(tmp_path: Path) -> None:
    config, fewer = trainer_config(), trainer_config(steps=4)
    fit(LineTask(config), config, run_folder(tmp_path))
    with pytest.raises(
        TrainingError, match=r"trainer\.steps=4, but .*run has 6 steps already; give at least 6"
    ):
        fit(LineTask(fewer), fewer, tmp_path / "run", resume=True)


def test_resuming_before_the_first_checkpoint_starts_from_step_zero(tmp_path: Path) -> None:
    config = trainer_config()
    task = LineTask(config)
    fit(task, config, run_folder(tmp_path), resume=True)
    assert task.stepped == [0, 1, 2, 3, 4, 5]


def test_checkpoints_are_written_regularly_and_the_newest_two_are_retained(tmp_path: Path) -> None:
    config = trainer_config(steps=7, checkpoint_every=2)
    fit(LineTask(config), config, run_folder(tmp_path))
    assert checkpoints(tmp_path / "run") == ["step_00000006", "step_00000007"]
    assert sorted(path.name for path in (tmp_path / "run/checkpoints/step_00000007").iterdir()) == [
        "config.json",
        "model.safetensors",
        "state",
    ]


@pytest.mark.parametrize("name", [".metadata", "__0_0.distcp"])
def test_a_broken_training_state_is_reported(tmp_path: Path, name: str) -> None:
    run = run_folder(tmp_path)
    checkpoints = Checkpoints(run)
    checkpoints.save(3, {}, {"modules.a": torch.ones(50), "modules.b": torch.zeros(2, 3)})
    checkpoints.wait()
    folder = run / "checkpoints" / "step_00000003"
    content = (folder / "state" / name).read_bytes()
    for broken in (b"", content[:100], b"text" * 30, None):
        if broken is None:
            (folder / "state" / name).unlink()
        else:
            (folder / "state" / name).write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"step_00000003 cannot be read .*remove that folder"):
            load_tensors(folder, {"modules.a": torch.ones(50)})


def test_a_training_state_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(run_folder(tmp_path))
    checkpoints.save(3, {}, {"modules.a": torch.ones(5000)})
    checkpoints.wait()
    folder = tmp_path / "run" / "checkpoints" / "step_00000003"
    load_tensors(folder, {"modules.a": torch.ones(5000)})
    file = folder / "state" / "__0_0.distcp"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    with pytest.raises(
        CheckpointError, match=r"cannot be read \(__0_0.distcp changed since it was written\)"
    ):
        load_tensors(folder, {"modules.a": torch.ones(5000)})
    (folder / "state" / "checksums.json").unlink()  # of an older release
    load_tensors(folder, {"modules.a": torch.ones(5000)})


def test_an_index_of_more_data_than_the_files_contain_is_refused(tmp_path: Path) -> None:
    checkpoints = Checkpoints(run_folder(tmp_path))
    files: dict[str, Any] = {"model.safetensors": {"a": torch.ones(1)}, "config.json": {}}
    checkpoints.save(3, files, {"modules.a": torch.ones(50)})
    checkpoints.wait()
    folder = tmp_path / "run" / "checkpoints" / "step_00000003"
    index = folder / "state" / ".metadata"
    metadata = pickle.loads(index.read_bytes())
    metadata.state_dict_metadata["modules.a"].size = torch.Size((10**7, 10**6))
    index.write_bytes(pickle.dumps(metadata))
    with pytest.raises(
        CheckpointError, match="its index declares tensors of 40000000000000 bytes, and its files"
    ):
        load_modules(folder)


@pytest.mark.parametrize("module", ["pathlib", "pathlib._local"])
def test_an_index_names_paths_as_each_python_does(module: str) -> None:
    pickled = f"c{module}\nPosixPath\n(Va\ntR.".encode()
    assert _IndexUnpickler(io.BytesIO(pickled)).load() == PosixPath("a")


# What `pickle` would run: a function of its own, and one that an allowed module happens to import.
HARMFUL = [
    b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x0atouch harm\x85R.",
    b"\x80\x04\x8c\x27torch.distributed.checkpoint.filesystem\x8c\x09os.system\x93\x8c\x0atouch harm\x85R.",
]


@pytest.mark.parametrize("index", HARMFUL)
def test_an_index_that_runs_code_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, index: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    pickle.loads(index)
    assert (tmp_path / "harm").exists()  # without a check it would
    (tmp_path / "harm").unlink()
    checkpoints = Checkpoints(run_folder(tmp_path))
    checkpoints.save(1, {}, {"modules.a": torch.ones(2)})
    checkpoints.wait()
    folder = tmp_path / "run" / "checkpoints" / "step_00000001"
    (folder / "state" / ".metadata").write_bytes(index)
    with pytest.raises(CheckpointError, match="its index asks for .*system"):
        load_tensors(folder, {"modules.a": torch.ones(2)})
    assert not (tmp_path / "harm").exists()


def test_a_checkpoint_with_more_weights_is_refused(tmp_path: Path) -> None:
    config = trainer_config(steps=1)
    deep = LineTask(config)
    deep.modules = torch.nn.Linear(3, 2)
    deep.modules.extra = torch.nn.Linear(2, 2)
    fit(deep, config, run_folder(tmp_path))
    with pytest.raises(CheckpointError, match="is of another architecture: it has modules.extra.bias"):
        fit(LineTask(config), config, tmp_path / "run", resume=True)


def test_a_checkpoint_is_a_snapshot_and_every_nth_is_retained(tmp_path: Path) -> None:
    checkpoints, tensor = Checkpoints(run_folder(tmp_path), keep_last=1, keep_every=4), torch.zeros(1000)
    for step in range(1, 8):
        tensor.fill_(step)
        checkpoints.save(step, {"model.safetensors": {"w": tensor}}, {"modules.a": tensor})
        tensor.fill_(-1)  # while it is being written
    checkpoints.wait()
    found = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert found == ["step_00000004", "step_00000007"]
    for name in found:
        loaded = {"modules.a": torch.empty(1000)}
        load_tensors(tmp_path / "run" / "checkpoints" / name, loaded)
        assert loaded["modules.a"].unique().tolist() == [int(name[-1])]


def test_the_log_has_metrics_learning_rate_and_throughput(tmp_path: Path) -> None:
    config = trainer_config(steps=9, log_every=4, lr=0.01, warmup=0.3, cooldown=0.5)
    fit(LineTask(config), config, run_folder(tmp_path))
    lines = metrics(tmp_path / "run")
    assert [line["step"] for line in lines] == [0, 4, 8]
    for line in lines:
        assert set(line) == {"step", "loss", "twice", "weight", "lr", "gradient_norm"}
        assert line["twice"] == pytest.approx(2 * line["loss"], abs=2e-6)
        assert line["lr"] == pytest.approx(
            warmup_constant_cooldown(line["step"], 9, 0.01, 0.3, 0.5), abs=1e-6
        )
    assert '"points_per_s": ' in (tmp_path / "run" / "metrics.jsonl").read_text()
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))


def test_the_first_update_is_adams() -> None:
    """Bias-corrected, Adam's first step has the size of the learning rate; decay shrinks matrices alone."""
    config = trainer_config(steps=10, lr=0.01, warmup=0.0, cooldown=0.0, weight_decay=0.5)
    task = LineTask(config)
    trainer = Trainer(task, config, Path("unused"), torch.device("cpu"))
    before = {name: value.clone() for name, value in task.modules.state_dict().items()}
    trainer.step(0, next(task.batches(0)))
    for name, decay in {"weight": 1 - 0.01 * 0.5, "bias": 1.0}.items():
        moved = (task.modules.state_dict()[name] - decay * before[name]).abs()
        torch.testing.assert_close(moved, torch.full_like(moved, 0.01), atol=1e-5, rtol=0)


def test_a_step_is_taken_with_the_schedules_rate() -> None:
    config = trainer_config(steps=100, lr=0.01, warmup=0.1, cooldown=0.0, weight_decay=0.0)
    task = LineTask(config)
    before = next(task.modules.parameters()).detach().clone()
    Trainer(task, config, Path("unused"), torch.device("cpu")).step(4, next(task.batches(4)))
    moved = (next(task.modules.parameters()) - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.005), atol=1e-5, rtol=0)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    config = trainer_config(steps=1)
    fit(LineTask(config), config, run_folder(tmp_path))
    other = LineTask(config)
    other.modules = torch.nn.Linear(4, 2)
    with pytest.raises(CheckpointError, match="step_00000001"):
        Trainer(other, config, tmp_path / "run", torch.device("cpu")).fit(resume=True)


def test_a_full_disk_stops_training_and_keeps_the_checkpoint_before(tmp_path: Path) -> None:
    config = trainer_config(steps=4, checkpoint_every=2)
    folder = run_folder(tmp_path)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step_00000004").write_text("in the way")
    with pytest.raises(CheckpointError, match="could not write a checkpoint of .*Training stopped"):
        fit(LineTask(config), config, folder)
    (folder / "checkpoints" / "step_00000004").unlink()
    task = LineTask(config)
    fit(task, config, folder, resume=True)
    assert task.stepped == [2, 3]


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (TrainerConfig, {"steps": 0}, "trainer.steps is 0; it must be at least 1"),
        (TrainerConfig, {"batch_size": -1}, "trainer.batch_size is -1; it must be at least 1"),
        (TrainerConfig, {"checkpoint_every": 0}, "trainer.checkpoint_every is 0"),
        (
            TrainerConfig,
            {"precision": "bfloat"},
            r"trainer.precision 'bfloat' is not known; did you mean 'bfloat16'\?",
        ),
        (TrainerConfig, {"lr": 0.0}, "trainer.lr is 0.0; it must be positive"),
        (TrainerConfig, {"lr": math.nan}, "trainer.lr is nan; it must be positive"),
        (TrainerConfig, {"warmup": 1.5}, "trainer.warmup is 1.5; it is a share of the run, from 0 to 1"),
        (JEPAConfig, {"image_fraction": 2.0}, "objective.image_fraction is 2.0; allowed: a share"),
        (
            JEPAConfig,
            {"ema": (0.999, 0.99)},
            r"objective.ema is \(0.999, 0.99\); allowed: two momenta",
        ),
        (FinetuneObjective, {"rollout": 0}, "objective.rollout is 0; it must be at least 1"),
        (FinetuneObjective, {"motion_share": -0.1}, "objective.motion_share is -0.1; it is a share"),
    ],
)
def test_an_inconsistent_configuration_is_refused(build: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(**changes)


def test_checkpoints_of_two_runs_do_not_interfere(tmp_path: Path) -> None:
    config = trainer_config(steps=2)
    fit(LineTask(config), config, run_folder(tmp_path, "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    longer = trainer_config(steps=4)
    fit(LineTask(longer), longer, tmp_path / "b", resume=True)
    assert checkpoints(tmp_path / "a") == ["step_00000002"]
    assert checkpoints(tmp_path / "b") == ["step_00000002", "step_00000004"]
