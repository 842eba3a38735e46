"""The video encoder: from tubelets to one feature vector a token.

Legend: B batch, T frames, C channels, H W pixels; t h w the token grid, N = t*h*w tokens, D width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import EncoderConfig
from vjepa_world.models.encoders.preprocessing import Preprocessing
from vjepa_world.models.transformer import build_blocks, init_weights, run_block
from vjepa_world.ops.masking.blocks import gather_tokens
from vjepa_world.ops.rope import RotaryTable, grid_positions, rotary_table
from vjepa_world.ops.sincos import resize_positions, sincos_positions
from vjepa_world.ops.tensor_checks import check_indices, check_video
from vjepa_world.system.seeding import seeded


class PatchEmbed(nn.Module):
    """The tubelet projection. Its weight has the layout of a Conv3d: `[D, C, tubelet, patch, patch]`."""

    def __init__(self, patch_size: int, tubelet_size: int, embed_dim: int) -> None:
        super().__init__()
        self.patch_size, self.tubelet_size = patch_size, tubelet_size
        kernel = (tubelet_size, patch_size, patch_size)
        self.proj = nn.Conv3d(3, embed_dim, kernel, stride=kernel)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Embed `video [B, T, C, H, W]`, all tokens or only the `visible [B, n]` ones, to `[B, n, D]`.

        A single frame counts as repeated over the tubelet, so its kernel is summed over time.
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
    """A pre-LayerNorm vision transformer over tubelets: V-JEPA 2, 2.1 and 1, and I-JEPA.

    Attributes:
        recompute: Set it to trade time for memory in training: activations inside blocks are computed twice.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2); V-JEPA 2.1 (arXiv:2603.14482); V-JEPA (arXiv:2404.08471);
    I-JEPA (arXiv:2301.08243).
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.recompute = False
        dim = config.embed_dim
        self.patch_embed = PatchEmbed(config.patch_size, config.tubelet_size, dim)
        if config.image_embed:
            self.patch_embed_img = PatchEmbed(config.patch_size, 1, dim)
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
        if config.positions == "sincos":
            table = sincos_positions(*self._position_grid(), dim, image=config.num_frames == 1)
            self.pos_embed = nn.Parameter(table.unsqueeze(0), requires_grad=False)
        self.blocks = build_blocks(config.depth, dim, config.num_heads, config.mlp_ratio, config.norm_eps)
        if config.levels:
            norms = [nn.LayerNorm(dim, eps=config.norm_eps) for _ in config.levels]
            self.norms_block = nn.ModuleList(norms)
        else:
            self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        init_weights(self, self.blocks)

    @property
    def preprocessing(self) -> Preprocessing:
        """How frames become its input."""
        return Preprocessing(size=self.config.image_size)

    @property
    def head_dim(self) -> int:
        """Channels per head."""
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
        """Return features of all tokens, or of the visible ones alone (the others are not computed).

        Args:
            video: `[B, T, C, H, W]` float, ImageNet-normalised (`normalize_video`). T = 1 is an image. It is
                converted to the weights' format.
            visible: Indices of the tokens to encode, int64 `[B, n]`, or None for all.

        Returns:
            `[B, N, D]` in token order (time, row, column), or `[B, n, D]`.

        Raises:
            ConfigError: If the video is something else (bytes, channels last, without a batch axis, not normalised),
                does not divide into tokens, or an index is of no token.
        """
        return self.features(video, (self.config.depth - 1,), visible)[0]

    def features(
        self, video: Tensor, layers: Sequence[int], visible: Tensor | None = None
    ) -> tuple[Tensor, ...]:
        """Return the normalised features after each of several blocks.

        Args:
            video: As in :meth:`forward`.
            layers: Blocks, counted from 0. With `config.levels`, each of them must be one: it has its own norm.
            visible: As in :meth:`forward`.

        Returns:
            For each layer, in the order asked for, `[B, N, D]` or `[B, n, D]`.

        Raises:
            ConfigError: As :meth:`forward`, and if there is no such block, or it is not one of the levels.
        """
        video = check_video(video).to(self.patch_embed.proj.weight.dtype)
        norms = {layer: self._norm_of(layer) for layer in layers}
        grid = self.token_grid(video)
        if visible is not None:
            check_indices("visible", visible, math.prod(grid), len(video))
        x, rotary = self._tokens(video, grid, visible)
        found = {}
        for layer, block in enumerate(self.blocks):
            x = run_block(block, x, rotary, recompute=self.recompute)
            if layer in norms:
                found[layer] = norms[layer](x)
            if len(found) == len(norms):
                break
        return tuple(found[layer] for layer in layers)

    def levels(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Return the features of all `config.levels` side by side, `[B, N, L*D]` (V-JEPA 2.1's training targets).

        Arguments as in :meth:`forward`; `[B, n, L*D]` with `visible`.
        """
        return torch.cat(self.features(video, self.config.levels, visible), dim=-1)

    def _norm_of(self, layer: int) -> nn.Module:
        allowed = self.config.levels or tuple(range(self.config.depth))
        if layer not in allowed:
            raise ConfigError(
                f"layer {layer} has no features here; allowed: {', '.join(map(str, allowed))}, counted from 0."
            )
        return self.norms_block[allowed.index(layer)] if self.config.levels else self.norm

    def _tokens(
        self, video: Tensor, grid: tuple[int, int, int], visible: Tensor | None
    ) -> tuple[Tensor, RotaryTable | None]:
        """Return the embedded tokens and, for rotary positions, their table."""
        config = self.config
        if not config.image_embed:
            x = self.patch_embed(video, visible)
        elif video.shape[1] == 1:
            x = self.patch_embed_img(video, visible) + self.img_mod_embed
        else:
            x = self.patch_embed(video, visible) + self.video_mod_embed
        if config.positions == "sincos":
            table = resize_positions(self.pos_embed, self._position_grid(), grid)
            return x + (
                table if visible is None else gather_tokens(table.expand(len(x), -1, -1), visible)
            ), None
        positions = grid_positions(*grid, device=video.device, span=config.rope_span)
        if visible is not None:
            positions = positions[visible].unsqueeze(1)
        return x, rotary_table(positions, self.head_dim, config.positions)

    def _position_grid(self) -> tuple[int, int, int]:
        return (
            self.config.num_frames // self.config.tubelet_size,
            self.config.grid_size,
            self.config.grid_size,
        )


class PixelEncoder(nn.Module):
    """A baseline without weights: each token's features are its patch's pixels, averaged over small cells.

    Planning with it minimises a distance between images.
    """

    CELLS = 8

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def preprocessing(self) -> Preprocessing:
        """How frames become its input."""
        return Preprocessing(size=self.config.image_size)

    @property
    def width(self) -> int:
        """Feature width: three colours of 8 x 8 cells."""
        return 3 * self.CELLS**2

    def forward(self, video: Tensor) -> Tensor:
        """Return `[B, T*h*w, 3*8*8]` for `video [B, T, C, H, W]`, normalised as for :class:`VideoEncoder`.

        Raises:
            ConfigError: If it is something else.
        """
        check_video(video)
        grid = self.config.image_size // self.config.patch_size
        small = F.adaptive_avg_pool2d(video.flatten(0, 1), grid * self.CELLS)
        cells = small.unflatten(-1, (grid, self.CELLS)).unflatten(-3, (grid, self.CELLS))
        tokens = cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)
        return tokens.unflatten(0, video.shape[:2]).flatten(1, 2)


@torch.no_grad()
def untrained_encoder(config: EncoderConfig, seed: int) -> VideoEncoder:
    """Return an encoder with random weights, drawn with `seed`: the baseline of trained encoders."""
    with seeded(seed):
        return VideoEncoder(config).eval().requires_grad_(False)
