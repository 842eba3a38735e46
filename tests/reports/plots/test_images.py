"""Masks are drawn at hidden tokens, and colours follow the features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vjepa_world.reports.plots.images import (
    FRAME_SHARE,
    GAP,
    MAX_FRAMES,
    TARGET_COLOUR,
    TILE,
    UNUSED_COLOUR,
    colour_row,
    frame_row,
    mask_row,
    principal_colours,
    tile_rows,
)

GRID = (2, 2, 4)  # tokens of 56 x 28 pixels of a tile


def clip(frames: int = 4, size: int = 16) -> torch.Tensor:
    """Return frames that are 10, 20, ... bright."""
    bright = 10 * (torch.arange(frames) + 1).view(-1, 1, 1, 1)
    return bright.expand(frames, 3, size, size).to(torch.uint8)


def test_the_first_frame_of_each_tubelet_is_shown() -> None:
    first, second = frame_row(clip(), 2)
    assert first.shape == (TILE, TILE, 3)
    assert (first == 10).all() and (second == 30).all()


def test_of_a_long_clip_evenly_spaced_tubelets_are_shown() -> None:
    row = frame_row(clip(24), 12)
    assert len(row) == MAX_FRAMES
    assert [int(frame[0, 0, 0]) for frame in row] == [10, 30, 70, 90, 130, 150, 190, 210]


def test_an_image_is_one_tubelet() -> None:
    assert len(frame_row(clip(1), 1)) == 1


def test_visible_tokens_are_unchanged_hidden_ones_dark_and_the_rest_violet() -> None:
    context, hidden = torch.tensor([0, 1, 8]), torch.tensor([2, 6, 15])
    rows = mask_row(clip(), GRID, context, hidden)
    kinds = np.full(16, 2)
    kinds[context], kinds[hidden] = 0, 1
    for time, (picture, bright) in enumerate(zip(rows, (10, 30), strict=True)):
        for cell in range(8):
            row, column = divmod(cell, 4)
            token = picture[row * 56 : row * 56 + 56, column * 28 : column * 28 + 28]
            kind = kinds[8 * time + cell]
            paint = {1: TARGET_COLOUR, 2: UNUSED_COLOUR}.get(int(kind))
            mixed = (
                bright
                if paint is None
                else np.round(np.array(paint) * (1 - FRAME_SHARE) + bright * FRAME_SHARE)
            )
            assert (token == mixed).all()


def test_colours_are_equal_where_features_are_and_differ_where_they_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(3, 32, generator=generator)
    which = torch.randint(3, (2, 16), generator=generator)
    features = kinds[which] + 0.01 * torch.randn(2, 16, 32, generator=generator)
    colours, share = principal_colours(features)
    assert colours.shape == (2, 16, 3) and colours.min() >= 0 and colours.max() <= 1
    assert share > 0.99
    of_each = [colours[which == kind][:, :2] for kind in range(3)]
    within = max((one - one.mean(dim=0)).abs().max().item() for one in of_each)
    between = min(
        (of_each[a].mean(0) - of_each[b].mean(0)).norm().item() for a, b in ((0, 1), (0, 2), (1, 2))
    )
    assert between > 5 * within


def test_the_share_of_the_variance_is_that_of_the_covariance() -> None:
    features = torch.randn(3, 40, 12, generator=torch.Generator().manual_seed(0))
    _, share = principal_colours(features)
    normed = torch.nn.functional.layer_norm(features, (12,)).flatten(0, 1)
    values = torch.linalg.eigvalsh(torch.cov(normed.T))
    assert share == pytest.approx((values[-3:].sum() / values.sum()).item(), rel=1e-4)


def test_collapsed_features_have_one_colour() -> None:
    colours, share = principal_colours(torch.ones(2, 5, 8))
    assert share == 0.0
    assert (colours == colours[0, 0]).all()


def test_colours_are_at_the_positions_of_their_tokens() -> None:
    colours = torch.rand(16, 3, generator=torch.Generator().manual_seed(0))
    rows = colour_row(colours, GRID)
    for time, picture in enumerate(rows):
        for cell in range(8):
            row, column = divmod(cell, 4)
            middle = picture[row * 56 + 28, column * 28 + 14]
            assert np.abs(middle - 255 * colours[8 * time + cell].numpy()).max() <= 0.5


def test_tiles_are_in_rows_with_white_between() -> None:
    black, grey = np.zeros((4, 6, 3), np.uint8), np.full((4, 6, 3), 90, np.uint8)
    sheet = tile_rows([[black, grey], [grey]])
    assert sheet.shape == (2 * 4 + GAP, 2 * 6 + GAP, 3)
    assert (sheet[:4, :6] == 0).all() and (sheet[:4, 6 + GAP :] == 90).all()
    assert (sheet[4 + GAP :, :6] == 90).all()
    assert (sheet[4 : 4 + GAP] == 255).all() and (sheet[4 + GAP :, 6:] == 255).all()
