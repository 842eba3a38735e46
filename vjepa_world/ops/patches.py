"""Pixels as tokens.

Legend: B clips, T frames, C channels, H W pixels; t h w the token grid, N = t*h*w tokens.
"""

from __future__ import annotations

from torch import Tensor


def patchify(video: Tensor, patch_size: int, tubelet_size: int) -> Tensor:
    """Return the pixels of each token.

    Args:
        video: `[B, T, C, H, W]`. T = 1 stands for the frame repeated over a tubelet.
        patch_size: Pixels p along a patch's side; divides H and W.
        tubelet_size: Frames s of a tubelet; divides T, unless T = 1.

    Returns:
        `[B, N, C*s*p*p]`, tokens in the encoder's order (time, row, column), pixels in the order of a Conv3d's kernel
        (channel, frame, row, column).
    """
    if video.shape[1] == 1:
        video = video.expand(-1, tubelet_size, -1, -1, -1)
    p, s = patch_size, tubelet_size
    split = video.unflatten(4, (-1, p)).unflatten(3, (-1, p)).unflatten(1, (-1, s))  # B t s C h p w p
    return split.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
