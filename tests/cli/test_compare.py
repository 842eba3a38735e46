"""Comparing encoders on recorded scenes: correct targets, and probes that predict only what can be known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from vjepa_world.cli.compare import _named
from vjepa_world.cli.main import main
from vjepa_world.cli.shared.scene_clips import DIRECTIONS, FRAMES, IN_SIGHT, record_scenes
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoder import untrained_encoder
from vjepa_world.pretrained import save_pretrained
from vjepa_world.training.probe import scene_probes
from vjepa_world.training.probe.scene_probes import Question, attentive_errors, linear_errors, tokens

SMALL = EncoderConfig(image_size=32, patch_size=8, num_frames=4, embed_dim=24, depth=1, num_heads=2)


def test_scenes_have_the_declared_properties() -> None:
    scenes = record_scenes("test", 6, 3, 64)
    again = record_scenes("test", 6, 3, 64)
    assert scenes.clips.shape == (6, FRAMES, 3, 64, 64)
    assert torch.equal(scenes.clips, again.clips)
    assert torch.equal(scenes.direction, again.direction)
    assert all((a != b).any() for a, b in zip(scenes.clips[:, 0], scenes.clips[:, -1], strict=True))
    assert set(scenes.direction.tolist()) <= set(range(len(DIRECTIONS)))
    assert (scenes.gripper[:, 2] > 0).all()
    assert scenes.object.shape == (6, 2)
    assert ((scenes.object - torch.tensor(IN_SIGHT[0])) >= 0).all()
    assert ((torch.tensor(IN_SIGHT[1]) - scenes.object) >= 0).all()
    # Where the gripper stands says nothing of where it will go.
    many = record_scenes("train", 40, 0, 32)
    ups = many.gripper[many.direction == DIRECTIONS.index("up"), 2]
    assert ups.max() > many.gripper[:, 2].median() - 0.05


def code(values: Tensor) -> Tensor:
    """Return tokens `[S, 16, 24]`, one of which is marked and contains the scene's numbers."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.randn(len(values), 16, 24, generator=generator)
    noise[:, 5, : values.shape[1]] += values
    noise[:, 5, 10:14] += 3  # which attention can know it by
    return noise.half()


def test_probes_predict_only_what_the_features_contain() -> None:
    rng = torch.Generator().manual_seed(1)
    positions = torch.randn(600, 2, generator=rng)
    features = code(positions)
    known = Question((features[:500], positions[:500]), (features[500:], positions[500:]))
    unknown = Question(
        (features[:500], positions[torch.randperm(500, generator=rng)]), (features[500:], positions[500:])
    )
    chance = positions[500:].norm(dim=1).mean()
    for errors in (linear_errors(known, 4), attentive_errors(known, 4, 2, 2, 0)):
        assert errors.shape == (100,)
        assert errors.mean() < 0.5 * chance
    assert linear_errors(unknown, 4).mean() > 0.9 * chance
    classes = (positions[:, 0] > 0).long()
    side = Question((features[:500], classes[:500]), (features[500:], classes[500:]))
    assert linear_errors(side, 4).mean() < 0.3  # chance is 0.5
    assert attentive_errors(side, 4, 2, 2, 0).mean() < 0.3


def test_the_attentive_probe_predicts_the_position_of_a_mark() -> None:
    """The mark is the same everywhere: only its position differs, which no token contains."""
    rng = torch.Generator().manual_seed(2)
    positions = torch.randint(16, (600,), generator=rng)
    features = torch.zeros(600, 16, 24)
    features[torch.arange(600), positions, 3] = 2
    wanted = torch.stack([positions // 4, positions % 4], dim=1).float()
    question = Question((features[:500].half(), wanted[:500]), (features[500:].half(), wanted[500:]))
    assert attentive_errors(question, 4, 2, 2, 0).mean() < 0.1  # 1.5 by chance, or without positions


def test_tokens_are_layer_normed() -> None:
    encoder = untrained_encoder(SMALL, 0)
    clips = torch.randint(0, 256, (3, 4, 3, 32, 32), dtype=torch.uint8)
    found = tokens(encoder, clips).float()
    assert found.shape == (3, 32, 24)
    np.testing.assert_allclose(found.mean(-1), 0, atol=2e-3)
    np.testing.assert_allclose(found.std(-1, correction=0), 1, atol=2e-3)


def test_encoders_of_the_same_name_are_all_listed() -> None:
    named = _named(["a/first", "b/first", "c/second", "d/untrained"])
    assert named == {
        "a/first": "a/first",
        "b/first": "b/first",
        "second": "c/second",
        "d/untrained": "d/untrained",
    }


def test_the_command_prints_a_table_and_writes_its_metrics(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scene_probes, "STEPS", 50)  # the test is about the table, not the numbers
    save_pretrained(untrained_encoder(SMALL, 5), tmp_path / "mine")
    words = [str(tmp_path / "mine"), "--train-scenes", "100", "--test-scenes", "10", "--threads", "1"]
    assert main(["compare", *words, "--output", str(tmp_path / "figures.json")]) == 0
    table = capsys.readouterr().out
    result = json.loads((tmp_path / "figures.json").read_text())
    assert {row["encoder"] for row in result["rows"]} == {"mine", "untrained", "chance"}
    assert "gripper [cm], attentive" in table.splitlines()[0]
    for row in result["rows"]:
        assert row["interval"][0] <= row["error"] <= row["interval"][1]
        assert f"{row['error']:.1f}" in table
    save_pretrained(
        untrained_encoder(EncoderConfig(**{**SMALL.__dict__, "image_size": 64}), 5), tmp_path / "large"
    )
    assert main(["compare", str(tmp_path / "large"), *words, "--output", str(tmp_path / "both.json")]) == 0
    both = json.loads((tmp_path / "both.json").read_text())["rows"]
    assert {row["encoder"] for row in both} == {"large", "mine", "untrained", "chance"}
    assert main(["compare", str(tmp_path / "mine"), "--test-scenes", "3"]) == 2
    assert "'test_scenes' got 3, expected a number from 10 to" in capsys.readouterr().err
