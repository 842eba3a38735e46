"""The metrics log works with and without TensorBoard."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from vjepa_world.runs import read_metrics
from vjepa_world.training.engine.metrics_log import MetricsLog


def test_without_tensorboard_one_line_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with caplog.at_level(logging.INFO):
        log = MetricsLog(tmp_path, 0)
    log.write(0, {"loss": 0.5})
    log.close()
    (line,) = [record.getMessage() for record in caplog.records]
    assert "pip install 'vjepa-world[tensorboard]'" in line and "\n" not in line
    assert read_metrics(tmp_path) == [{"step": 0, "loss": 0.5}]
    assert not (tmp_path / "tensorboard").exists()


def test_with_tensorboard_events_are_written(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    log = MetricsLog(tmp_path, 0)
    log.write(0, {"loss": 0.5})
    log.close()
    assert list((tmp_path / "tensorboard").glob("events.out.tfevents.*"))
