"""Jobs that cannot fit into memory are refused with a message before any allocation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.commands import COLLECT, run
from tests.training.corpora import SMALL, write_corpus
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.system import memory
from vjepa_world.system.memory import free_memory, refuse_beyond_memory

PRETRAIN = ["pretrain", *SMALL, "trainer.steps=1"]


def test_free_memory_is_limited_by_system_and_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system, limit = tmp_path / "meminfo", tmp_path / "memory.max"
    system.write_text("MemTotal: 9000 kB\nMemAvailable: 3000 kB\nSwapFree: 500 kB\nHugePages_Total: 0\n")
    monkeypatch.setattr(memory, "_MEMINFO", system)
    monkeypatch.setattr(memory, "_LIMITS", (limit, tmp_path / "nowhere"))
    for content, expected in (("max\n", 3500 * 1024), ("4096\n", 4096), (f"{2**63}\n", 3500 * 1024)):
        limit.write_text(content)
        assert free_memory() == expected
    limit.write_text("2000000000")
    system.write_text("MemAvailable: 9000000 kB\nSwapFree: 0 kB\n")
    refuse_beyond_memory(2e9, "they", "take less")
    with pytest.raises(
        ConfigError, match="^they need at least 3 GB of memory, and 2 GB are free; take less.$"
    ):
        refuse_beyond_memory(3e9, "they", "take less")


def test_weights_are_counted_before_they_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two blocks of width 64 with MLPs four times as wide have at least 2 * 12 * 64^2 numbers of 4 bytes."""
    config = EncoderConfig(image_size=32, num_frames=2, embed_dim=64, depth=2, num_heads=2)
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 12 * 64**2 * 4)
    VideoEncoder(config)
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 12 * 64**2 * 4 - 1)
    with pytest.raises(ConfigError, match="weights of 2 blocks of width 64 need at least .*lower embed_dim"):
        VideoEncoder(config)
    with torch.device("meta"):
        VideoEncoder(config)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [*PRETRAIN, "trainer.batch_size=1e9"],
            "batches of 1000000000 clips per process (trainer.batch_size)",
        ),
        ([*PRETRAIN, "trainer.batch_size=4", "model.depth=1024", "model.embed_dim=65536"], "1024 blocks of"),
        ([*PRETRAIN, "trainer.batch_size=4", "predictor.embed_dim=1000000"], "1 blocks of width 1000000"),
        ([*COLLECT, "steps=1000000", "env.image_size=1024"], "the pictures of 1 episode of 1000000 actions"),
    ],
)
def test_a_job_that_cannot_fit_is_refused_and_leaves_no_run(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_corpus(tmp_path, videos=1)
    assert run(tmp_path, *words) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
