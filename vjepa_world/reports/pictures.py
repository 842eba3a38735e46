"""Pictures of what a pretraining does: which tokens are hidden, and what the features of the others tell apart.

Legend: T frames, H W pixels, t h w the token grid, N = t*h*w tokens, D width. Pictures are RGB, uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vjepa_world.ops.pixels import resize_frames

#: Height and width of a frame in a picture [pixels], and the space between two.
TILE, GAP = 112, 4

#: Frames of a clip that are drawn, at most.
MOST_FRAMES = 8

#: Colours of hidden tokens, of those that are neither seen nor predicted, and how much of the frame they leave.
HIDDEN, UNUSED, LEFT_OF_IT = (38, 42, 51), (196, 64, 176), 0.16


def tile_rows(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Put pictures of one size in rows, white between them; rows may differ in length."""
    height, width = rows[0][0].shape[:2]
    longest = max(len(row) for row in rows)
    shape = (len(rows) * (height + GAP) - GAP, longest * (width + GAP) - GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for down, row in enumerate(rows):
        for right, picture in enumerate(row):
            top, left = down * (height + GAP), right * (width + GAP)
            sheet[top : top + height, left : left + width] = picture
    return sheet


def frame_row(clip: Tensor, tubelets: int) -> list[np.ndarray]:
    """Return the first frame of each of `tubelets` tubelets of a clip `[T, C, H, W]` uint8, the drawn ones alone."""
    chosen = _drawn(tubelets) * (len(clip) // tubelets)
    return [frame.permute(1, 2, 0).numpy() for frame in resize_frames(clip[chosen], TILE)]


def mask_row(clip: Tensor, grid: tuple[int, int, int], context: Tensor, hidden: Tensor) -> list[np.ndarray]:
    """Return the frames of :func:`frame_row` with the tokens that are not seen painted over.

    Args:
        clip: `[T, C, H, W]` uint8.
        grid: Its tokens (t, h, w).
        context: Tokens that are seen, `[n]`; they stay as they are.
        hidden: Tokens that are predicted, `[m]`; they are dark. What is neither is violet.
    """
    kind = torch.full((grid[0] * grid[1] * grid[2],), 2)
    kind[hidden], kind[context] = 1, 0
    planes = kind.unflatten(0, grid)[_drawn(grid[0])]
    colours = torch.tensor([(0, 0, 0), HIDDEN, UNUSED], dtype=torch.float32)
    rows = []
    for frame, plane in zip(frame_row(clip, grid[0]), planes, strict=True):
        wide = _enlarged(plane.float())
        shown = frame * LEFT_OF_IT + colours[wide.long()].numpy() * (1 - LEFT_OF_IT)
        rows.append(np.where((wide == 0).numpy()[..., None], frame, shown.round().astype(np.uint8)))
    return rows


def principal_colours(features: Tensor) -> tuple[Tensor, float]:
    """Colour tokens by their places along the three directions in which all of them vary most.

    Args:
        features: Of all tokens of some clips, `[M, N, D]`; LayerNormed here, as they are where they are learned.

    Returns:
        Colours `[M, N, 3]` from 0 to 1, and the share of the variance that the three directions hold.
    """
    normed = F.layer_norm(features.float(), features.shape[-1:]).flatten(0, 1)
    centred = normed - normed.mean(dim=0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    places = centred @ directions[:3].T
    low, high = torch.quantile(places, torch.tensor([0.01, 0.99]), dim=0)
    colours = ((places - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    total = singular.square().sum()
    share = (singular[:3].square().sum() / total).item() if total > 0 else 0.0
    missing = 3 - colours.shape[1]
    return F.pad(colours, (0, missing)).unflatten(0, features.shape[:2]), share


def colour_row(colours: Tensor, grid: tuple[int, int, int]) -> list[np.ndarray]:
    """Return the drawn tubelets of one clip's colours `[N, 3]` as pictures."""
    planes = colours.unflatten(0, grid)[_drawn(grid[0])].permute(0, 3, 1, 2)
    return [(_enlarged(plane).permute(1, 2, 0) * 255).round().byte().numpy() for plane in planes]


def _drawn(tubelets: int) -> Tensor:
    """Return which tubelets are drawn: all, or evenly spaced ones."""
    count = min(tubelets, MOST_FRAMES)
    return torch.arange(count) * tubelets // count


def _enlarged(plane: Tensor) -> Tensor:
    """Enlarge `[h, w]` or `[C, h, w]` to a tile, without smoothing."""
    inside = plane.reshape(1, -1, *plane.shape[-2:])
    big = F.interpolate(inside, size=(TILE, TILE), mode="nearest-exact")
    return big.reshape(*plane.shape[:-2], TILE, TILE)
