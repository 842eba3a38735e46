"""Encoders that change the size of their features, return NaN, or describe themselves wrongly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.encoders.registered import ENCODERS, RegisteredEncoder, register_encoder


class Blocks(nn.Module):
    """Means of areas of 8 x 8 pixels, times two weights."""

    image_size, num_frames = 32, 1

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, -1.0]))

    def forward(self, video: Tensor) -> Tensor:
        areas = nn.functional.avg_pool2d(video.flatten(0, 1).mean(1, keepdim=True), 8)
        return areas.flatten(2).transpose(1, 2) * self.weight


def registered(monkeypatch: pytest.MonkeyPatch, made: type[nn.Module]) -> RegisteredEncoder:
    monkeypatch.setattr(ENCODERS, "_own", dict(ENCODERS._own))
    register_encoder("blocks")(made)
    return RegisteredEncoder("blocks")


def test_an_image_encoder_reads_the_frames_of_a_clip_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = registered(monkeypatch, Blocks)
    clip = torch.randn(2, 3, 3, 32, 32)
    tokens = encoder(clip)
    assert tokens.shape == (2, 3 * 16, 2)
    torch.testing.assert_close(tokens[:, 16:32], encoder(clip[:, 1:2]))
    with pytest.raises(
        ConfigError, match="got 1 frames of 16x32 pixels; give one frame, or .* of 32x32 pixels"
    ):
        encoder(clip[:, :1, :, :16])


def test_features_of_another_size_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = registered(monkeypatch, Blocks)
    encoder.module.weight = nn.Parameter(torch.ones(4))
    with pytest.raises(
        ConfigError,
        match=r"features \[1, 16, 4\] of input .*, and \[1, 16, 2\] are expected from its first call",
    ):
        encoder(torch.zeros(1, 1, 3, 32, 32))


def test_features_that_are_not_finite_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = registered(monkeypatch, Blocks)
    encoder.load_state_dict({"module.weight": torch.tensor([torch.nan, 1.0])})
    with pytest.raises(
        ConfigError, match="'blocks' returned features that are not finite; check its weights"
    ):
        encoder(torch.zeros(1, 1, 3, 32, 32))


def test_an_odd_number_of_tokens_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Class(Blocks):
        def forward(self, video: Tensor) -> Tensor:
            return torch.cat([super().forward(video), self.weight.expand(len(video), 1, 2)], dim=1)

    with pytest.raises(
        ConfigError, match=r"returns \[1, 17, 2\] for one image of 32 pixels .* a square number N"
    ):
        registered(monkeypatch, Class)


def test_a_preprocessing_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(Blocks):
        preprocessing = Preprocessing(size=64)

    with pytest.raises(ConfigError, match="has image_size 32 and the preprocessing .*size=64"):
        registered(monkeypatch, Other)
