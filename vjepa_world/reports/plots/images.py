"""Images of clips, of the tokens that a mask hides, and of features in colours.

Legend: T frames, C channels, H W pixels, t h w the token grid, N = t*h*w tokens, M clips, D width. Images are
`[H, W, 3]`, RGB, uint8.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from vjepa_world.ops.pixels import resize_frames

#: Height and width of a frame, and the gap between two [pixels].
TILE, GAP = 112, 4

#: Frames of a clip that are drawn, at most.
MAX_FRAMES = 8

#: Colours of the tokens to predict and of those that are neither context nor target, and how much of the frame remains
#: visible through them.
TARGET_COLOUR, UNUSED_COLOUR, FRAME_SHARE = (38, 42, 51), (196, 64, 176), 0.16


def tile_rows(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Put images `[h, w, 3]` of one size in rows, with white gaps; rows may differ in length. Returns `[H, W, 3]`."""
    height, width = rows[0][0].shape[:2]
    longest = max(len(row) for row in rows)
    shape = (len(rows) * (height + GAP) - GAP, longest * (width + GAP) - GAP, 3)
    sheet = np.full(shape, 255, np.uint8)
    for down, row in enumerate(rows):
        for right, image in enumerate(row):
            top, left = down * (height + GAP), right * (width + GAP)
            sheet[top : top + height, left : left + width] = image
    return sheet


def resized(frame: Tensor, height: int) -> np.ndarray:
    """Return a frame `[3, H, W]` uint8 as an image `[height, w, 3]` of a height [pixels] and its own aspect ratio."""
    width = max(round(height * frame.shape[2] / frame.shape[1]), 1)
    image = Image.fromarray(frame.permute(1, 2, 0).numpy())
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def evenly_spaced(count: int, wanted: int) -> list[int]:
    """Return indices among `count`: all, or `wanted` evenly spaced ones that include the first and the last."""
    return sorted({round(float(k)) for k in np.linspace(0, count - 1, min(count, wanted))}) if count else []


def frame_row(clip: Tensor, tubelets: int) -> list[np.ndarray]:
    """Return images of the first frame of each drawn tubelet of a clip `[T, C, H, W]` uint8 with `tubelets` of them."""
    chosen = _drawn_tubelets(tubelets) * (len(clip) // tubelets)
    return [frame.permute(1, 2, 0).numpy() for frame in resize_frames(clip[chosen], TILE)]


def mask_row(clip: Tensor, grid: tuple[int, int, int], context: Tensor, target: Tensor) -> list[np.ndarray]:
    """Return the frames of :func:`frame_row` with all tokens but the context painted over.

    Args:
        clip: `[T, C, H, W]` uint8.
        grid: Its tokens (t, h, w).
        context: Indices of the tokens that the encoder sees, `[n]`; they stay as they are.
        target: Indices of the tokens that are predicted, `[m]`; they are dark. All others are violet.
    """
    kind = torch.full((grid[0] * grid[1] * grid[2],), 2)
    kind[target], kind[context] = 1, 0
    planes = kind.unflatten(0, grid)[_drawn_tubelets(grid[0])]
    colours = torch.tensor([(0, 0, 0), TARGET_COLOUR, UNUSED_COLOUR], dtype=torch.float32)
    row = []
    for frame, plane in zip(frame_row(clip, grid[0]), planes, strict=True):
        large = _enlarged(plane.float())
        covered = frame * FRAME_SHARE + colours[large.long()].numpy() * (1 - FRAME_SHARE)
        row.append(np.where((large == 0).numpy()[..., None], frame, covered.round().astype(np.uint8)))
    return row


def principal_colours(features: Tensor) -> tuple[Tensor, float]:
    """Colour tokens by their coordinates along the first three principal components of all of them.

    Args:
        features: Of all tokens of some clips, `[M, N, D]`; LayerNormed here, as the pretraining's targets are.

    Returns:
        Colours `[M, N, 3]` from 0 to 1, and the share of the variance that the three components explain.
    """
    normed = F.layer_norm(features.float(), features.shape[-1:]).flatten(0, 1)
    centred = normed - normed.mean(dim=0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    coordinates = centred @ directions[:3].T
    low, high = torch.quantile(coordinates, torch.tensor([0.01, 0.99]), dim=0)
    colours = ((coordinates - low) / (high - low).clamp_min(1e-6)).clamp(0, 1)
    total = singular.square().sum()
    share = (singular[:3].square().sum() / total).item() if total > 0 else 0.0
    missing = 3 - colours.shape[1]
    return F.pad(colours, (0, missing)).unflatten(0, features.shape[:2]), share


def colour_row(colours: Tensor, grid: tuple[int, int, int]) -> list[np.ndarray]:
    """Return the drawn tubelets of one clip's colours `[N, 3]` (0 to 1) as images."""
    planes = colours.unflatten(0, grid)[_drawn_tubelets(grid[0])].permute(0, 3, 1, 2)
    return [(_enlarged(plane).permute(1, 2, 0) * 255).round().byte().numpy() for plane in planes]


def _drawn_tubelets(tubelets: int) -> Tensor:
    """Return the indices of the tubelets that are drawn: all, or evenly spaced ones."""
    count = min(tubelets, MAX_FRAMES)
    return torch.arange(count) * tubelets // count


def _enlarged(plane: Tensor) -> Tensor:
    """Enlarge `[h, w]` or `[C, h, w]` to the size of a tile, without smoothing."""
    planes = plane.reshape(1, -1, *plane.shape[-2:])
    large = F.interpolate(planes, size=(TILE, TILE), mode="nearest-exact")
    return large.reshape(*plane.shape[:-2], TILE, TILE)
