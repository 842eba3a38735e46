"""Ratios above one are better for every unit, and the two sides alternate."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from vjepa_world.bench import BENCHES, BenchConfig, Row, report, row, run_bench, time_pair
from vjepa_world.bench.harness import table
from vjepa_world.errors import ConfigError


def test_the_two_sides_alternate() -> None:
    calls: list[str] = []
    pair = time_pair(lambda: calls.append("a"), lambda: calls.append("b"), repeats=3, min_repeat_s=0.0)
    assert calls[-6:] == ["a", "b", "a", "b", "a", "b"]
    assert len(pair.ours_s) == len(pair.baseline_s) == 3


def test_times_are_seconds_of_one_call() -> None:
    pair = time_pair(lambda: time.sleep(0.002), lambda: time.sleep(0.02), repeats=3, min_repeat_s=0.02)
    assert 0.002 <= pair.ours < 0.02 <= pair.baseline


def test_a_single_slow_repetition_does_not_change_the_result() -> None:
    from vjepa_world.bench import Pair

    assert Pair((1.0, 1.1, 90.0), (2.0, 2.0, 2.0)).ours == 1.1


def test_timing_synchronises_the_device() -> None:
    waits: list[int] = []
    time_pair(lambda: None, lambda: None, repeats=1, min_repeat_s=0.0, synchronize=lambda: waits.append(1))
    assert len(waits) >= 4


def test_a_ratio_above_one_is_better_for_rates_and_times() -> None:
    assert row("rate", 200.0, 100.0, "frames/s", limit=400.0) == Row(
        "rate", 200.0, 100.0, 2.0, "frames/s", 0.5
    )
    faster = row("time", 1.0, 4.0, "ms", limit=0.5, lower_is_better=True)
    assert faster == Row("time", 1.0, 4.0, 4.0, "ms", 0.5)
    assert row("rate", 1.0, 1.0, "x").share_of_limit is None


@pytest.mark.parametrize("values", [(0.0, 1.0), (1.0, 0.0), (float("nan"), 1.0)])
def test_a_value_without_a_ratio_is_refused(values: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="rate: expected positive values"):
        row("rate", *values, "x")


def test_the_report_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row("short", 1234.5, 617.25, "GFLOP/s", limit=2469.0), row("a longer name", 0.5, 1.0, "ms")]
    path = report("trial", rows, tmp_path / "trial")
    written = json.loads(path.read_text())
    assert path == tmp_path / "trial" / "result.json"
    assert written["bench"] == "trial"
    assert written["machine"]["cores"] >= 1
    assert [sorted(entry) for entry in written["rows"]] == [
        ["baseline", "name", "ours", "ratio", "share_of_limit", "unit"]
    ] * 2
    assert written["rows"][0]["share_of_limit"] == 0.5
    assert capsys.readouterr().out == f"bench trial\n{table(rows)}\n"


def test_columns_are_aligned() -> None:
    lines = table([row("a", 1.0, 2.0, "ms"), row("much longer", 1000.0, 2.0, "GFLOP/s")]).splitlines()
    assert [line.index(word) for line, word in zip(lines[2:], ("ms", "GFLOP/s"), strict=True)] == [
        lines[0].index("unit")
    ] * 2


def test_the_machine_is_measured() -> None:
    rows = run_bench("machine", BenchConfig(bench="machine", device="cpu"))
    assert [entry.unit for entry in rows] == ["GFLOP/s", "GB/s"]
    assert all(entry.ours > 0.1 and max(entry.ours, entry.baseline) < 1e6 for entry in rows)
    assert max(entry.share_of_limit or 0.0 for entry in rows) <= 1.0


def test_a_hardware_limit_is_measured_once() -> None:
    from vjepa_world.training.engine.matrix_rate import matmul_gflops

    assert matmul_gflops() == matmul_gflops()


def test_invalid_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown bench 'machin'; did you mean 'machine'\?"):
        BenchConfig(bench="machin")
    with pytest.raises(ConfigError, match="'repeats' got 0"):
        BenchConfig(bench="machine", repeats=0)
    with pytest.raises(ConfigError, match="needs one benchmark"):
        BenchConfig(bench="all", name="x")


def test_every_benchmark_of_the_list_has_a_module() -> None:
    import importlib

    for name in BENCHES:
        assert callable(importlib.import_module(f"vjepa_world.bench.{name}").run)
