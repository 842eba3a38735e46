"""The online probe during training: its metrics, their baselines, and that it does not affect the training."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.conftest import make_writer
from vjepa_world.data.video.writer import write_video
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.training.pretrain.online_probe import OnlineProbe, open_online_probe
from vjepa_world.training.pretrain.online_probe_config import OnlineProbeConfig

SIZE, EPISODES, ROWS = 32, 30, 6
ENCODER = EncoderConfig(
    image_size=SIZE, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2, mlp_ratio=2.0
)
TARGET = "observation.state[0:2]"


def picture(rng: np.random.Generator, x: float, y: float) -> np.ndarray:
    """Return a bright square on a dark field, uint8 [S, S, 3]; positions go from 0 to 1."""
    frame = np.empty((SIZE, SIZE, 3), np.uint8)
    frame[:] = rng.integers(20, 80)
    left, top = round(x * (SIZE - 8)), round(y * (SIZE - 8))
    frame[top : top + 8, left : left + 8] = rng.integers(180, 256)
    return frame


@pytest.fixture(scope="module")
def arm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Episodes of a square that jumps; its position is the first two numbers of the state."""
    rng = np.random.default_rng(0)
    writer = make_writer(tmp_path_factory.mktemp("arm") / "set", image_shape=(SIZE, SIZE, 3))
    with writer.shard(0) as out:
        for _ in range(EPISODES):
            positions = rng.uniform(0, 1, (ROWS, 2))
            frames = np.stack([picture(rng, *position) for position in positions])
            states = np.column_stack([positions, rng.normal(size=ROWS)]).astype(np.float32)
            out.add_episode(frames, states, np.zeros((ROWS - 1, 2), np.float32), task="jump")
    return writer.finalize()


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of a square that stands at the left or at the right."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("sides")
    for label, x in (("left", 0.1), ("right", 0.9)):
        for number in range(12):
            path = folder / label / f"{number}.mp4"
            path.parent.mkdir(exist_ok=True)
            write_video(path, [picture(rng, x, rng.uniform())] * 6, fps=4)
    return folder


def open_probe(path: Path, target: str = "", clips: int = 120, **more: object) -> OnlineProbe:
    return open_online_probe(
        OnlineProbeConfig(every=1, path=str(path), target=target, clips=clips),
        frames=4,
        image_size=SIZE,
        fps=4.0,
        seed=0,
        **more,  # type: ignore[arg-type]
    )


def silent(encoder: VideoEncoder) -> VideoEncoder:
    """Return an encoder with constant features."""
    with torch.no_grad():
        encoder.patch_embed.proj.weight.zero_()
    return encoder


def test_a_position_is_predicted_and_compared_with_the_untrained_encoder_and_chance(arm: Path) -> None:
    untrained = untrained_encoder(ENCODER, seed=1)
    probe = open_probe(arm, TARGET, untrained=untrained)
    assert not probe.is_classification
    metrics = probe.metrics(untrained_encoder(ENCODER, seed=0))
    # Places are uniform in a unit square, so the mean is 0.38 away on average.
    assert metrics["probe_chance"] == pytest.approx(0.38, abs=0.06)
    assert metrics["probe_error"] < 0.5 * metrics["probe_chance"]
    assert metrics["probe_untrained"] == probe.metrics(untrained)["probe_error"]
    blind = probe.metrics(silent(untrained_encoder(ENCODER, seed=0)))
    assert blind["probe_error"] == pytest.approx(metrics["probe_chance"], rel=0.05)


def test_classification_reports_the_error_rate(sides: Path) -> None:
    probe = open_probe(sides)
    assert probe.is_classification
    metrics = probe.metrics(untrained_encoder(ENCODER, seed=0))
    assert "probe_untrained" not in metrics
    assert metrics["probe_error"] == 0.0
    assert 0.2 < metrics["probe_chance"] < 0.8
    assert probe.metrics(silent(untrained_encoder(ENCODER, seed=0)))["probe_error"] > 0.2


def test_the_online_probe_is_tested_on_held_out_episodes(arm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vjepa_world.training.pretrain import online_probe

    seen = []
    read = online_probe._read

    def spy(drawn: list[list[int]], source: object, *rest: object) -> object:
        seen.append([set(source.clips.groups[part].tolist()) for part in drawn])  # type: ignore[attr-defined]
        return read(drawn, source, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(online_probe, "_read", spy)
    open_probe(arm, TARGET)
    train, val, test = seen[0]
    assert train and val and test
    assert not train & val and not train & test and not val & test


def test_the_online_probe_leaves_the_training_unchanged(arm: Path) -> None:
    encoder = VideoEncoder(dataclasses.replace(ENCODER)).train()
    before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    torch.manual_seed(7)
    expected, numbers = torch.rand(3), np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002  (the global state is the point)
    torch.manual_seed(7)
    first = open_probe(arm, TARGET, workers=1).metrics(encoder)
    assert torch.equal(torch.rand(3), expected)
    assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], numbers)  # noqa: NPY002
    assert encoder.training and all(p.grad is None and p.requires_grad for p in encoder.parameters())
    assert all(torch.equal(tensor, before[name]) for name, tensor in encoder.state_dict().items())
    assert open_probe(arm, TARGET).metrics(encoder) == first


def test_bad_clips_are_reported_and_too_many_stop_the_run(
    sides: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "videos"
    shutil.copytree(sides, folder)
    broken = folder / "left" / "3.mp4"
    whole = broken.read_bytes()
    middle = len(whole) // 3  # the header at the end is intact
    broken.write_bytes(whole[:middle].replace(whole[48:middle], bytes(middle - 48)) + whole[middle:])
    probe = open_probe(folder, max_bad_fraction=0.5)
    assert probe.metrics(untrained_encoder(ENCODER, seed=0))["probe_error"] < 0.3
    assert "3.mp4" in caplog.text
    for path in sorted(folder.glob("*/*.mp4")):
        path.write_bytes(b"no video")
    with pytest.raises(DataError, match="videos are bad"):
        open_probe(folder, max_bad_fraction=0.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"every": 5}, "probe.path is not given"),
        ({"every": -1}, "probe.every is -1"),
        ({"clips": 3}, "probe.clips is 3; it must be at least 8"),
    ],
)
def test_inconsistent_options_are_refused(words: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OnlineProbeConfig(**words)  # type: ignore[arg-type]


def test_a_dataset_needs_a_column(arm: Path) -> None:
    with pytest.raises(ConfigError, match=r"target=observation.state\[0:3\]"):
        open_probe(arm)


def test_the_encoder_may_compute_in_bfloat16(arm: Path) -> None:
    encoder = untrained_encoder(ENCODER, seed=0)
    half = open_probe(arm, TARGET, dtype=torch.bfloat16).metrics(encoder)
    assert half["probe_error"] == pytest.approx(
        open_probe(arm, TARGET).metrics(encoder)["probe_error"], rel=0.3
    )
