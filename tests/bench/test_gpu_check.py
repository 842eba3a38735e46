"""The program of `make gpu-check`, at a tiny size on the CPU: every check runs, and every failure is recorded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.paths import REPO
from vjepa_world.bench.gpu import checks

CPU = torch.device("cpu")

POSITIVE = {
    "plan": ["seconds_per_plan", "share_of_matrix_rate"],
    "pretrain": ["clips_per_s", "share_of_matrix_rate"],
    "finetune": ["windows_per_s"],
    "decode": ["frames_per_s"],
    "distributed": ["loss", "clips_per_s"],
    "cuda_graphs": ["seconds_per_rollout"],
}


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPO), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.run(
        [sys.executable, "-m", "vjepa_world.bench.gpu", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_every_check_but_the_tests_is_listed_here() -> None:
    assert set(POSITIVE) == set(checks.CHECKS) - {"tests"}


@pytest.mark.parametrize("name", POSITIVE)
def test_a_check_measures(name: str) -> None:
    metrics = checks.CHECKS[name](CPU, checks.TINY)
    for key in POSITIVE[name]:
        assert float(metrics[key]) > 0


def test_results_and_failures_are_written(tmp_path: Path) -> None:
    done = run(tmp_path, "--device", "cpu", "--size", "tiny", "tests", "decode")
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "runs" / "gpu_check" / "result.json").read_text())
    assert result["passed"] and result["machine"]["gpu"] == "none"
    assert result["checks"]["tests"]["skipped"] == result["checks"]["tests"]["tests"] > 0
    assert result["checks"]["decode"]["pixel_difference"] == 0


def test_a_wrong_result_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "LOSS_TOLERANCE", -1.0)
    with pytest.raises(checks.CheckError, match="the loss on shards is .*, in one process"):
        checks.distributed(CPU, checks.TINY)


def test_without_a_gpu_it_says_so_and_fails(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "device 'cuda' was requested, but torch finds no GPU" in done.stderr
    assert not (tmp_path / "runs").exists()
