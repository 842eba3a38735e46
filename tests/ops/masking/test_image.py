"""I-JEPA's masks: targets are rectangles, the context is a square without them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.ops.masking.image import sample_image_masks

GRID = (1, 16, 16)


def draw(
    batch: int, seed: int, grid: tuple[int, int, int] = GRID, min_context: int = 10
) -> tuple[Tensor, Tensor]:
    return sample_image_masks(grid, batch, torch.Generator().manual_seed(seed), min_context=min_context)


def box(index: list[int], width: int) -> tuple[int, int, int, int]:
    """Return first row, first column, rows and columns that tokens span."""
    rows, columns = [i // width for i in index], [i % width for i in index]
    top, left = min(rows), min(columns)
    return top, left, max(rows) - top + 1, max(columns) - left + 1


def test_targets_are_rectangles_of_the_requested_area_and_aspect() -> None:
    areas, aspects = [], []
    for seed in range(200):
        _, targets = draw(2, seed, (1, 40, 40))
        shapes = set()
        for index in targets.flatten(0, 1).tolist():
            _, _, height, width = box(index, 40)
            assert len(set(index)) == height * width
            shapes.add((height, width))
        [(height, width)] = shapes  # one size per batch
        areas.append(height * width / 1600)
        aspects.append(height / width)
    assert 0.14 < min(areas) < 0.155 < 0.195 < max(areas) < 0.21
    assert 0.71 < min(aspects) < 0.8 < 1.4 < max(aspects) < 1.57
    correlation = torch.corrcoef(torch.tensor([areas, aspects]))[0, 1]
    assert abs(float(correlation)) < 0.2  # size and shape are drawn apart


def test_the_context_of_a_single_image_is_a_square_without_the_targets() -> None:
    sides = set()
    for seed in range(60):
        context, targets = draw(1, seed)
        seen, hidden = set(context[0].tolist()), set(targets.flatten().tolist())
        fits = set()
        for side in (15, 16):  # 0.85 to 1 of 256 tokens
            for top in range(17 - side):
                for left in range(17 - side):
                    square = {16 * (top + i) + left + j for i in range(side) for j in range(side)}
                    if square - hidden == seen:
                        fits.add(side)
        assert fits
        sides |= fits
    assert sides == {15, 16}


def test_contexts_of_a_batch_have_one_size_and_exclude_every_target() -> None:
    cut = False
    for seed in range(30):
        context, targets = draw(12, seed)
        assert targets.shape[:2] == (12, 4)
        for seen, hidden in zip(context.tolist(), targets.flatten(1).tolist(), strict=True):
            assert not set(seen) & set(hidden)
            assert seen == sorted(set(seen))
            cut = cut or len(seen) < 15 * 15 - len(set(hidden))
        for index in targets.flatten(0, 1).tolist():
            assert index == sorted(index)
    assert cut


def test_targets_reach_every_corner() -> None:
    counts = torch.zeros(256)
    for seed in range(40):
        counts += draw(8, seed)[1].flatten().bincount(minlength=256)
    corners = counts.view(16, 16)[[0, 0, 15, 15], [0, 15, 0, 15]]
    assert corners.min() > 0


def test_a_context_has_the_least_number_of_tokens() -> None:
    """On 6x6 tokens, four targets of 6 tokens leave 1 to 30; without the limit a batch of 64 falls below 14."""
    grid = (1, 6, 6)
    free = min(draw(64, seed, grid, min_context=1)[0].shape[1] for seed in range(20))
    held = min(draw(64, seed, grid, min_context=14)[0].shape[1] for seed in range(20))
    assert free < 14 <= held


def test_an_impossible_context_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"leave fewer than 10 tokens of a context of .*3x3; give larger images"
    ):
        draw(4, 0, (1, 3, 3))


def test_all_frames_have_the_same_mask() -> None:
    still = draw(3, 5)
    clip = draw(3, 5, (4, 16, 16))
    for image, video in zip(still, clip, strict=True):
        frames = video.unflatten(-1, (4, -1)) - 256 * torch.arange(4).unsqueeze(-1)
        assert torch.equal(frames, image.unsqueeze(-2).expand_as(frames))


def test_masks_depend_only_on_the_generator() -> None:
    before = torch.random.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(draw(4, 7), draw(4, 7), strict=True))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not torch.equal(draw(4, 7)[1], draw(4, 8)[1])
