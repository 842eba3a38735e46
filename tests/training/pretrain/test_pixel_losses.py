"""Masked pixels against loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from vjepa_world.training.pretrain.losses.pixels import masked_pixel_l2, pixel_targets

VIDEO = torch.randn(2, 4, 3, 4, 6, generator=torch.Generator().manual_seed(0)) * 2 + 1
HIDDEN = torch.tensor([[0, 7, 11], [2, 3, 8]])  # of 2 x 2 x 3 tokens


def pixels_of(clip: int, token: int) -> list[float]:
    """Return the pixels of one token of 2 frames of 2 x 2, colour by colour."""
    t, h, w = token // 6, token // 3 % 2, token % 3
    return (
        VIDEO[clip, 2 * t : 2 * t + 2, :, 2 * h : 2 * h + 2, 2 * w : 2 * w + 2]
        .transpose(0, 1)
        .flatten()
        .tolist()
    )


@pytest.mark.parametrize("normalize", [False, True])
def test_targets_are_the_hidden_tokens_pixels(normalize: bool) -> None:
    found = pixel_targets(VIDEO, HIDDEN, 2, 2, normalize=normalize)
    assert found.shape == (2, 3, 24)
    for clip in range(2):
        for number, token in enumerate(HIDDEN[clip].tolist()):
            pixels = pixels_of(clip, token)
            if normalize:
                middle = sum(pixels) / 24
                deviation = math.sqrt(sum((x - middle) ** 2 for x in pixels) / 23 + 1e-6)
                pixels = [(x - middle) / deviation for x in pixels]
            assert found[clip, number].tolist() == pytest.approx(pixels, abs=1e-5)


def test_a_flat_patch_is_all_zeros() -> None:
    assert pixel_targets(torch.full((1, 2, 3, 4, 4), 3.5), torch.tensor([[0]]), 2, 2).abs().max() < 1e-2


def test_an_image_is_a_repeated_frame() -> None:
    image, index = VIDEO[:, :1], torch.tensor([[0, 5], [1, 4]])
    torch.testing.assert_close(
        pixel_targets(image, index, 2, 2), pixel_targets(image.expand(-1, 2, -1, -1, -1), index, 2, 2)
    )


def test_the_loss_by_hand() -> None:
    predicted = torch.tensor([[[1.0, 2.0], [0.0, -1.0]]])
    target = torch.tensor([[[0.0, 2.0], [2.0, 1.0]]])
    assert float(masked_pixel_l2(predicted, target)) == pytest.approx((1 + 0 + 4 + 4) / 4)
    assert masked_pixel_l2(predicted.bfloat16(), target).dtype == torch.float32


def test_predicting_the_mean_costs_just_under_one() -> None:
    target = pixel_targets(VIDEO, HIDDEN, 2, 2)
    assert float(masked_pixel_l2(torch.zeros_like(target), target)) == pytest.approx(23 / 24, abs=1e-4)
