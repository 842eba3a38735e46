"""The benchmark of opening corpora finds all files that it wrote, and reports time and memory."""

from __future__ import annotations

import pytest

from vjepa_world.bench import BenchConfig, scan


def test_the_benchmark_opens_the_corpus_that_it_wrote(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ROWS": 3000, "DISTINCT_FILES": 10, "FILES": 1200, "FILES_PER_FOLDER": 300}.items():
        monkeypatch.setattr(scan, name, value)
    seconds, memory, files = scan.run(BenchConfig(bench="scan", repeats=1))
    assert "3,000 rows" in seconds.name and 0 < seconds.ours < seconds.baseline == 10.0
    assert 0 < memory.ours < memory.baseline == 1.0
    assert files.ours < files.baseline  # the first time, headers are read
