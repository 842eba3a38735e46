"""I-JEPA's masks: several small targets and one large context without them.

Legend: B images, T H W the token grid (T = 1 for an image), P = H*W positions, M targets, Nc context tokens, Np tokens
of a target.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vjepa_world.errors import ConfigError
from vjepa_world.ops.masking.blocks import TRIES, block_shape, over_frames, random_order


def sample_image_masks(
    grid: tuple[int, int, int],
    batch: int,
    generator: torch.Generator,
    *,
    targets: int = 4,
    target_scale: tuple[float, float] = (0.15, 0.2),
    target_aspect: tuple[float, float] = (0.75, 1.5),
    context_scale: tuple[float, float] = (0.85, 1.0),
    min_context: int = 10,
) -> tuple[Tensor, Tensor]:
    """Draw one context and several targets for each image.

    The sizes are drawn once per batch, the positions once per image. The context is a square block without the targets'
    positions, cut at random to the batch's smallest; targets may overlap. If an image's context has too few positions,
    all its blocks are drawn again.

    Args:
        grid: Token grid (T, H, W); with T > 1, all frames are masked alike.
        batch: B.
        generator: CPU generator; all randomness comes from it.
        targets: M, blocks to predict.
        target_scale: Least and largest share of the frame that a target takes.
        target_aspect: Least and largest height over width of a target.
        context_scale: Least and largest share of the frame that the context takes before targets are removed.
        min_context: Least number of positions of a context.

    Returns:
        `context [B, Nc]` and `targets [B, M, Np]`, sorted int64 indices into the tokens.

    Raises:
        ConfigError: If such a context is not found.

    Source: I-JEPA (arXiv:2301.08243, section 3).
    """
    _, height, width = grid
    shares = torch.rand(3, generator=generator).tolist()
    scale, aspect, large = (
        low + (high - low) * share
        for (low, high), share in zip((target_scale, target_aspect, context_scale), shares, strict=True)
    )
    shape = block_shape(scale, aspect, height, width)
    side = block_shape(large, 1.0, height, width)
    predicted = torch.empty(batch, targets, shape[0] * shape[1], dtype=torch.int64)
    visible = torch.zeros(batch, height * width, dtype=torch.bool)
    missing = torch.arange(batch)
    for _ in range(TRIES):
        predicted[missing] = _blocks(len(missing), targets, shape, (height, width), generator)
        block = _blocks(len(missing), 1, side, (height, width), generator).flatten(1)
        fresh = torch.zeros(len(missing), height * width, dtype=torch.bool)
        fresh.scatter_(1, block, True).scatter_(1, predicted[missing].flatten(1), False)
        visible[missing] = fresh
        missing = missing[fresh.sum(dim=1) < min_context]
        if not len(missing):
            order = random_order(visible, generator)
            count = int(visible.sum(dim=1).min())
            return over_frames(order[:, :count], grid), over_frames(predicted, grid)
    raise ConfigError(
        f"{targets} targets of {shape[0]}x{shape[1]} leave fewer than {min_context} tokens of a context of {side[0]}x"
        f"{side[1]} on a grid of {height}x{width}; give larger images, or fewer or smaller targets."
    )


def _blocks(
    batch: int, count: int, shape: tuple[int, int], size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Return the positions in `count` random blocks of one shape, `[B, count, h*w]`, sorted."""
    top = torch.randint(0, size[0] - shape[0] + 1, (batch, count, 1, 1), generator=generator)
    left = torch.randint(0, size[1] - shape[1] + 1, (batch, count, 1, 1), generator=generator)
    rows, columns = top + torch.arange(shape[0]).unsqueeze(1), left + torch.arange(shape[1])
    return (rows * size[1] + columns).flatten(2)
