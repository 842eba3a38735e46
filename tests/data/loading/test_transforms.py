"""Crops, sizes and normalization against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vjepa_world.data.loading.transforms import Crop, crop_resize, sample_crop
from vjepa_world.ops.pixels import resize_frames


def test_crops_lie_inside_and_keep_area_and_ratio() -> None:
    rng = np.random.default_rng(0)
    shares, ratios, flips = [], [], 0
    for _ in range(2000):
        crop = sample_crop(400, 500, rng, scale=(0.2, 0.55), ratio=(0.75, 1.35), flip=0.25)
        assert 0 <= crop.top <= 400 - crop.height
        assert 0 <= crop.left <= 500 - crop.width
        shares.append(crop.height * crop.width / (400 * 500))
        ratios.append(crop.width / crop.height)
        flips += crop.flip
    assert 0.19 < min(shares) < 0.21
    assert 0.54 < max(shares) < 0.56
    assert 0.74 < min(ratios) < 0.77
    assert 1.30 < max(ratios) < 1.37
    assert np.mean(np.log(ratios)) == pytest.approx((np.log(0.75) + np.log(1.35)) / 2, abs=0.02)
    assert flips / 2000 == pytest.approx(0.25, abs=0.04)


def test_a_crop_that_can_never_fit_becomes_the_largest_centred_one() -> None:
    crop = sample_crop(20, 200, np.random.default_rng(0), scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=0.0)
    assert crop == Crop(0, 90, 20, 20)


def test_the_whole_frame_at_its_size_is_not_resampled() -> None:
    frames = torch.randint(
        0, 256, (3, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    assert resize_frames(frames, 32) is frames
    assert torch.equal(crop_resize(frames, Crop(0, 0, 32, 32), 32), frames)
    assert torch.equal(crop_resize(frames, Crop(0, 0, 32, 32, flip=True), 32), frames.flip(-1))
    assert torch.equal(crop_resize(frames, Crop(4, 8, 16, 16), 16), frames[..., 4:20, 8:24])


def test_shrinking_averages_instead_of_dropping_pixels() -> None:
    # A one-pixel chessboard: any filter that drops pixels shows black or white, an average shows grey.
    board = (torch.arange(64).view(-1, 1) + torch.arange(64)) % 2 * 255
    frames = board.to(torch.uint8).expand(2, 3, 64, 64)
    small = resize_frames(frames, 16)
    assert small.dtype == torch.uint8
    assert (small.int() - 127).abs().max() <= 2


def test_resizing_preserves_linear_ramps() -> None:
    slope = torch.linspace(0, 248, 32).round().to(torch.uint8).expand(1, 3, 32, 32)
    large = resize_frames(slope, 64)[0, 0, 10].float()
    exact = (torch.arange(64) + 0.5) / 2 - 0.5  # pixel centres of the large image in the small one
    inside = slice(2, -2)
    assert (large - exact * 8)[inside].abs().max() <= 1
