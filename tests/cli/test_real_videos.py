"""Pretraining on ordinary videos of several codecs, rates and sizes from other sources."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.commands import MODEL, run
from tests.paths import SHARED_DATA
from vjepa_world.cli.inspect import Config, describe

VIDEOS = SHARED_DATA / "videos"
pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason=f"{VIDEOS} holds the real videos; it is absent")


def test_pretrain_skips_and_names_the_clip_that_is_too_short(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = ["trainer.steps=2", "trainer.batch_size=4", "trainer.workers=0"]
    words = ["pretrain", f"data.path={VIDEOS}", "name=real", *MODEL, "model.num_frames=8", *trainer]
    assert run(tmp_path, *words) == 0
    lines = (tmp_path / "runs" / "pretrain" / "real" / "metrics.jsonl").read_text().splitlines()
    assert 0 < json.loads(lines[-1])["loss"] < 2
    assert "h265.mp4" in caplog.text and "shorter than the window" in caplog.text


def test_inspect_names_the_codecs() -> None:
    text = describe(Config(path=VIDEOS))
    assert all(codec in text for codec in ("h264", "hevc", "av1"))
