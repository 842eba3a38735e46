"""The frame decoder: from features to a small image, for people to look at; it is never used for planning.

Legend: B frames, N = rows * columns tokens, D feature width, p pixels along a token's patch.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import DecoderConfig
from vjepa_world.models.transformer import NORM_EPS, build_blocks, init_weights, run_block
from vjepa_world.ops.rope import grid_positions, rotary_table

MLP_RATIO = 4.0
COLOURS = 3


class FrameDecoder(nn.Module):
    """A small transformer from every token to its patch of pixels.

    Several views are side by side in the image as in the tokens. If the rows do not divide the image's height, the next
    larger patch is decoded and the image is resized.

    Args:
        config: Sizes; `image_size` is the image's height s [pixels].
        width: D.
        tokens: The grid of a frame's tokens (rows, columns), all views together.

    Raises:
        ConfigError: If `config.image_size` is 0, which means: no decoder.
    """

    def __init__(self, config: DecoderConfig, width: int, tokens: tuple[int, int]) -> None:
        super().__init__()
        if config.image_size < 1:
            raise ConfigError(
                "a decoder's image_size is 0, which means that there is none; give the picture's height in pixels."
            )
        self.config, self.width, self.grid = config, width, tokens
        self.patch_size = math.ceil(config.image_size / tokens[0])
        dim = config.embed_dim
        self.embed = nn.Linear(width, dim)
        self.blocks = build_blocks(config.depth, dim, config.num_heads, MLP_RATIO)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.pixels = nn.Linear(dim, COLOURS * self.patch_size**2)
        init_weights(self, self.blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Decode features.

        Args:
            features: `[B, N, D]`, tokens by row and column.

        Returns:
            `[B, 3, s, s*columns/rows]` float32 in [0, 1].

        Raises:
            ConfigError: If the features are not of the size this decoder was built for.
        """
        (rows, columns), p = self.grid, self.patch_size
        if features.shape[1:] != (rows * columns, self.width):
            raise ConfigError(
                f"got features of shape {list(features.shape)} for a decoder of [B, {rows * columns}, {self.width}]; "
                "give features as the world model's encode_frames returns them."
            )
        positions = grid_positions(1, rows, columns, features.device)
        head_dim = self.config.embed_dim // self.config.num_heads
        rotary = rotary_table(positions, head_dim, "interleaved")
        x = self.embed(features.to(self.embed.weight.dtype))
        for block in self.blocks:
            x = run_block(block, x, rotary)
        pixels = torch.sigmoid(self.pixels(self.norm(x)).float())  # bfloat16 has too few levels for an image
        patches = pixels.unflatten(2, (COLOURS, p, p)).unflatten(1, (rows, columns))
        image = patches.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
        size = self.config.image_size
        if rows * p == size:
            return image
        return F.interpolate(image, (size, size * columns // rows), mode="bilinear", antialias=True)
