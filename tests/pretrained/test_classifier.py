"""Features and classes in one call, against the separate steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import vjepa_world as vw
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.ops.pixels import normalize_video

CONFIG = vw.EncoderConfig(image_size=32, patch_size=16, num_frames=2, embed_dim=24, depth=1, num_heads=2)


def frames(*shape: int) -> torch.Tensor:
    return torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_embed_normalises_and_encodes() -> None:
    encoder = vw.build_encoder(CONFIG, seed=0).eval()
    video = frames(4, 3, 32, 32)
    features = vw.embed(encoder, video)
    assert features.shape == (2 * 2 * 2, 24)
    assert not features.requires_grad
    assert torch.equal(features, encoder(normalize_video(video)[None])[0])


def test_embed_takes_an_image_of_any_size_and_its_central_square() -> None:
    encoder = vw.build_encoder(CONFIG, seed=0)
    wide = frames(3, 64, 128)
    assert torch.equal(vw.embed(encoder, wide), vw.embed(encoder, wide[:, :, 32:96]))
    assert not torch.equal(vw.embed(encoder, wide, crop=0.0), vw.embed(encoder, wide))
    with pytest.raises(ConfigError, match="uint8"):
        vw.embed(encoder, wide / 255)
    with pytest.raises(ConfigError, match="does not divide into tubelets"):
        vw.embed(encoder, frames(3, 3, 32, 32))


def test_a_classifier_names_what_it_was_trained_on(tmp_path: Path) -> None:
    encoder = vw.build_encoder(CONFIG, seed=0).eval()
    vw.save_pretrained(encoder, tmp_path / "encoder")
    generator = torch.Generator().manual_seed(1)
    images = [
        torch.randint(low, low + 80, (3, 40, 40), dtype=torch.uint8, generator=generator)
        for low in (0, 170)
        for _ in range(10)
    ]
    names = ["dark"] * 10 + ["light"] * 10
    data = vw.probe_data(torch.stack([vw.embed(encoder, image) for image in images]), names)
    config = vw.ProbeRunConfig(
        device="cpu",
        probe=vw.ProbeShape(kind="linear"),
        lrs=(1e-2,),
        weight_decays=(0.0,),
        trainer=vw.ProbeTrainerConfig(steps=60, batch_size=8, threads=1, precision="float32"),
    )
    result = vw.train_probe(config, data=data, folder=tmp_path / "probe")
    classifier = vw.load_classifier(result.folder, tmp_path / "encoder")
    for image, name in ((images[0], "dark"), (images[-1], "light")):
        [(best, probability), (_, other)] = classifier.classify(image)
        assert best == name
        assert probability > 0.5
        assert probability + other == pytest.approx(1.0)
    assert classifier.classify(images[0], top=1)[0][0] == "dark"


def test_a_probe_without_a_recorded_encoder_needs_one(tmp_path: Path) -> None:
    data = vw.probe_data(torch.randn(10, 1, 24, generator=torch.Generator().manual_seed(0)), ["a", "b"] * 5)
    config = vw.ProbeRunConfig(
        device="cpu",
        probe=vw.ProbeShape(kind="linear"),
        lrs=(1e-3,),
        weight_decays=(0.0,),
        trainer=vw.ProbeTrainerConfig(steps=1, batch_size=2, threads=1),
    )
    folder = vw.train_probe(config, data=data, folder=tmp_path / "probe").folder
    with pytest.raises(CheckpointError, match="does not record its encoder"):
        vw.load_classifier(folder)
    wider = vw.EncoderConfig(image_size=32, patch_size=16, num_frames=2, embed_dim=48, depth=1, num_heads=2)
    vw.save_pretrained(vw.build_encoder(wider, seed=0), tmp_path / "wide")
    with pytest.raises(CheckpointError, match="features of width 24, but the encoder .* gives 48"):
        vw.load_classifier(folder, tmp_path / "wide")
