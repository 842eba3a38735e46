"""Two processes have the loss curve of one for each objective, and runs resume with another world size."""

from __future__ import annotations

import itertools
import signal
import subprocess
from pathlib import Path

import pytest

from tests.training.corpora import OBJECTIVES, SMALL, write_corpus
from tests.training.processes import kill, start, start_all, start_command, wait, wait_for_success, wait_until
from tests.training.tiny import metrics

METRICS = ("loss", "gradient_norm", "target_std")


def words(name: str, objective: str, *more: str) -> list[str]:
    return [
        "pretrain",
        f"name={name}",
        *SMALL,
        *OBJECTIVES[objective],
        "trainer.batch_size=8",
        "trainer.lr=3e-4",
        *more,
    ]


def curve(home: Path, name: str, metric: str = "loss") -> list[float]:
    return [line[metric] for line in metrics(home / "runs" / "pretrain" / name)]


def differences(one: list[float], other: list[float]) -> float:
    """Return the largest relative difference of two curves."""
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def compared(home: Path, cases: dict[str, list[str]]) -> Path:
    """Train every case with one process and with two; return the folder of the runs."""
    write_corpus(home)
    for world_size in (1, 2):
        jobs = [[*job[:1], f"name={name}_{world_size}", *job[2:]] for name, job in cases.items()]
        wait_for_success(start_all(jobs, home, world_size))
    return home


SHARDED = {
    f"{name}_fsdp": words(name, name, "trainer.parallel=fsdp") for name in ("vjepa2", "vjepa2_1", "sigreg")
}
MORE = {
    "slices": words("slices", "vjepa2", "trainer.accumulate=2", "trainer.clip_norm=5"),
    "slices_fsdp": words(
        "slices_fsdp", "vjepa2_1", "trainer.accumulate=2", "trainer.recompute=true", "trainer.parallel=fsdp"
    ),
}
CASES = {name: words(name, name) for name in OBJECTIVES} | SHARDED | MORE


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cases = {name: [*job, "trainer.steps=8"] for name, job in CASES.items()}
    return compared(tmp_path_factory.mktemp("two"), cases)


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_loss_curve_of_one(short: Path, case: str) -> None:
    for metric in METRICS:
        one, two = (curve(short, f"{case}_{world_size}", metric) for world_size in (1, 2))
        assert len(one) == 8
        assert differences(one, two) < 1e-5, metric


def test_the_curves_of_different_objectives_differ(short: Path) -> None:
    """The comparison above can fail."""
    names = [f"{name}_1" for name in (*OBJECTIVES, "slices")]
    for first, second in itertools.combinations(names, 2):
        assert differences(curve(short, first), curve(short, second)) > 1e-4, (first, second)


@pytest.mark.slow
def test_two_processes_have_the_loss_curve_of_one_for_fifty_steps(tmp_path: Path) -> None:
    cases = {name: [*job, "trainer.steps=50"] for name, job in CASES.items()}
    compared(tmp_path, cases)
    worst = {name: differences(curve(tmp_path, f"{name}_1"), curve(tmp_path, f"{name}_2")) for name in CASES}
    assert max(worst.values()) <= 1e-4, worst


def stopped(home: Path, job: list[str], world_size: int, at: int, rank: int) -> None:
    """Start or resume a run, and signal one of its processes once step `at` is logged."""
    log = home / "runs" / "pretrain" / "moved" / "metrics.jsonl"
    started = start_command(job, home, world_size)

    def reached() -> bool:
        return log.is_file() and f'{{"step": {at},' in log.read_text()

    assert wait_until(reached, started[0]), wait(started)[0].error
    kill(started[rank], signal.SIGTERM)
    assert [one.code for one in wait(started)] == [130] * world_size


def test_a_run_can_be_resumed_with_ddp_fsdp_or_one_process(tmp_path: Path) -> None:
    """Each time one process gets a signal, all save the same step, and another world size resumes."""
    write_corpus(tmp_path)
    # Checkpoints come from nothing but the requests.
    job = words("moved", "vjepa2_1", "trainer.steps=30", "trainer.checkpoint_every=1000")
    wait_for_success(start_command([*job[:1], "name=straight", *job[2:]], tmp_path))
    stopped(tmp_path, job, 2, at=3, rank=1)
    stopped(tmp_path, [*job, "resume=true", "trainer.parallel=fsdp"], 2, at=10, rank=0)
    stopped(tmp_path, [*job, "resume=true"], 1, at=16, rank=0)
    wait_for_success(start_command([*job, "resume=true"], tmp_path, world_size=2))
    steps = [line["step"] for line in metrics(tmp_path / "runs/pretrain/moved")]
    assert steps == list(range(30))
    assert differences(curve(tmp_path, "straight"), curve(tmp_path, "moved")) < 1e-4


def run_limited(home: Path, limit_kb: int, world_size: int) -> list[subprocess.Popen[str]]:
    job = words("full", "vjepa2", "trainer.steps=20", "trainer.checkpoint_every=4")
    return start(["-m", "vjepa_world", *job], home, world_size, file_limit_kb=limit_kb)


@pytest.mark.parametrize(
    ("limit_kb", "world_size"),
    [(40, 1), (250, 1), (40, 2)],
    ids=["weights", "state", "weights of two processes"],
)
def test_a_full_disk_stops_training_with_the_reason(tmp_path: Path, limit_kb: int, world_size: int) -> None:
    """The first limit is below the size of model.safetensors, the second below that of the training state."""
    write_corpus(tmp_path)
    finished = wait(run_limited(tmp_path, limit_kb, world_size))
    assert [one.code for one in finished] == [2] * world_size
    assert "could not write a checkpoint of runs/pretrain/full: " in finished[0].error
    assert "File too large" in finished[0].error
    assert "Free some disk space and continue with resume=true" in finished[0].error
    assert list((tmp_path / "runs/pretrain/full/checkpoints").iterdir()) == []
    assert len(metrics(tmp_path / "runs/pretrain/full")) < 20
