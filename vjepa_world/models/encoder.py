"""The video encoder: tubelets in, one feature vector a token out.

Legend: B batch, T frames, C channels, H W pixels; t h w the token grid, N = t*h*w tokens, D width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.transformer import NORM_EPS, Block, init_weights
from vjepa_world.ops.masking import gather_tokens
from vjepa_world.ops.rope import grid_positions, rope_rotation


class PatchEmbed(nn.Module):
    """The tubelet projection. Its weight has the layout of a Conv3d: `[D, C, tubelet, patch, patch]`."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.patch_size, self.tubelet_size = config.patch_size, config.tubelet_size
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.proj = nn.Conv3d(3, config.embed_dim, kernel, stride=kernel)
        nn.init.trunc_normal_(self.proj.weight, std=0.02)
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed `video [B, T, C, H, W]`, all tokens or only the `visible [B, n]` ones, to `[B, n, D]`.

        A single frame stands for itself repeated over the tubelet, so its kernel is summed over time.
        """
        still = video.shape[1] == 1
        p, s = self.patch_size, 1 if still else self.tubelet_size
        batch, frames, channels, height, width = video.shape
        patches = video.reshape(batch, frames // s, s, channels, height // p, p, width // p, p)
        patches = patches.permute(0, 1, 4, 6, 3, 2, 5, 7).flatten(4).flatten(1, 3)
        if visible is not None:
            patches = gather_tokens(patches, visible)
        kernel = self.proj.weight.sum(dim=2) if still else self.proj.weight
        return F.linear(patches, kernel.flatten(1), self.proj.bias)


class VideoEncoder(nn.Module):
    """A pre-LayerNorm vision transformer over tubelets with 3D rotary positions.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        blocks = [Block(config.embed_dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.LayerNorm(config.embed_dim, eps=NORM_EPS)
        init_weights(self, self.blocks)

    @property
    def head_dim(self) -> int:
        """Channels a head."""
        return self.config.embed_dim // self.config.num_heads

    def token_grid(self, video: Tensor) -> tuple[int, int, int]:
        """Return the token grid (t, h, w) of `video [B, T, C, H, W]`; a single frame fills one tubelet.

        Raises:
            ConfigError: If frames or pixels are not multiples of tubelet and patch.
        """
        frames, (height, width) = video.shape[1], video.shape[-2:]
        p, s = self.config.patch_size, self.config.tubelet_size
        if (frames != 1 and frames % s) or height % p or width % p:
            raise ConfigError(
                f"video of {frames} frames of {height}x{width} pixels does not divide into tubelets of {s} frames "
                f"and patches of {p} pixels; resize it, or give one frame or a multiple of {s}."
            )
        return max(frames // s, 1), height // p, width // p

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return features of all tokens, or of the visible ones alone (the rest are never computed).

        Args:
            video: `[B, T, C, H, W]` float, ImageNet-normalised. T = 1 is an image.
            visible: Indices of the tokens to see, `[B, n]`, or None for all.

        Returns:
            `[B, N, D]` in token order (time, row, column), or `[B, n, D]`.
        """
        grid = self.token_grid(video)
        positions = grid_positions(*grid, device=video.device)
        x = self.patch_embed(video, visible)
        if visible is not None:
            positions = positions[visible].unsqueeze(1)
        rotation = rope_rotation(positions, self.head_dim)
        for block in self.blocks:
            x = block(x, rotation)
        return self.norm(x)


class PixelEncoder(nn.Module):
    """A control, not a model: each token's features are its patch's own pixels, averaged over small cells.

    Planning with it minimises a distance between pictures.
    """

    CELLS = 8

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def width(self) -> int:
        """Feature width: three colours of 8 x 8 cells."""
        return 3 * self.CELLS**2

    def forward(self, video: Tensor) -> Tensor:
        """Return `[B, T*h*w, 3*8*8]` for `video [B, T, C, H, W]`."""
        grid = self.config.image_size // self.config.patch_size
        small = F.adaptive_avg_pool2d(video.flatten(0, 1), grid * self.CELLS)
        cells = small.unflatten(-1, (grid, self.CELLS)).unflatten(-3, (grid, self.CELLS))
        tokens = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return tokens.unflatten(0, video.shape[:2]).flatten(1, 2)


@torch.no_grad()
def untrained_encoder(config: EncoderConfig, seed: int) -> VideoEncoder:
    """Return an encoder with the random weights that `seed` gives: the control of every trained one."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VideoEncoder(config).eval().requires_grad_(False)
