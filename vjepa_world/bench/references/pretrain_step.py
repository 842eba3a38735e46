"""A plain implementation of V-JEPA 2's training step with PyTorch's own layers, without optimisations: the baseline.

The whole clip is embedded and then masked, the rotary tables are computed in every block, the graphs of both masks live
until the single backward pass, and the moving average is updated parameter by parameter.

Legend: B clips, N tokens, D width, h heads.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.system.device import in_precision

Grid = tuple[int, int, int]


def _rotate_channels(x: Tensor, position: Tensor) -> Tensor:
    """Rotate the channels `x [B, h, n, d]` of one axis by the positions `[B, n]` (tiled, as V-JEPA 2 does)."""
    half = x.shape[-1] // 2
    omega = 10000.0 ** -(torch.arange(half, dtype=torch.float32, device=x.device) / half)
    angles = position.float()[:, None, :, None] * omega
    cos, sin = angles.cos().repeat(1, 1, 1, 2), angles.sin().repeat(1, 1, 1, 2)
    first, second = x.unflatten(-1, (-1, 2)).unbind(-1)
    return x * cos + torch.stack([-second, first], dim=-1).flatten(-2) * sin


class PlainBlock(nn.Module):
    """A pre-LayerNorm block with rotary attention."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        hidden = round(dim * mlp_ratio)
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))

    def forward(self, x: Tensor, tokens: Tensor, grid: Grid, mask: Tensor | None = None) -> Tensor:
        """Transform `x [B, n, D]`, the tokens `[B, n]` of the grid; the shape does not change.

        `mask [n, n]` is true where a query attends to a key.
        """
        batch, count, dim = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(batch, count, 3, self.num_heads, -1).permute(2, 0, 3, 1, 4)
        q, k = self._rotate(q, tokens, grid), self._rotate(k, tokens, grid)
        out = (
            F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).reshape(batch, count, dim)
        )
        x = x + self.proj(out)
        return x + self.mlp(self.norm2(x))

    @staticmethod
    def _rotate(x: Tensor, tokens: Tensor, grid: Grid) -> Tensor:
        _, height, width = grid
        frame = tokens // (height * width)
        row, column = tokens % (height * width) // width, tokens % width
        axis = 2 * ((x.shape[-1] // 3) // 2)
        rotated = [
            _rotate_channels(x[..., i * axis : (i + 1) * axis], p) for i, p in enumerate((frame, row, column))
        ]
        return torch.cat([*rotated, x[..., 3 * axis :]], dim=-1).to(x.dtype)


class PlainEncoder(nn.Module):
    """Video encoder: masked tokens are dropped after the embedding."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        kernel = (config.tubelet_size, config.patch_size, config.patch_size)
        self.embed = nn.Conv3d(3, config.embed_dim, kernel, stride=kernel)
        self.blocks = nn.ModuleList(
            PlainBlock(config.embed_dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.embed_dim, eps=1e-6)

    def forward(self, video: Tensor, visible: Tensor | None = None) -> Tensor:
        """Encode `video [B, T, C, H, W]`, all tokens or the visible ones `[B, n]`; returns `[B, n, D]`."""
        embedded = self.embed(video.transpose(1, 2))
        grid: Grid = tuple(embedded.shape[2:])
        x = embedded.flatten(2).transpose(1, 2)
        tokens = torch.arange(x.shape[1], device=x.device).expand(len(x), -1)
        if visible is not None:
            x, tokens = x.gather(1, visible.unsqueeze(-1).expand(-1, -1, x.shape[-1])), visible
        for block in self.blocks:
            x = block(x, tokens, grid)
        return self.norm(x)


class PlainPredictor(nn.Module):
    """Masked predictor: predicts features of the hidden tokens from context features and mask tokens."""

    def __init__(self, config: MaskedPredictorConfig, encoder_dim: int) -> None:
        super().__init__()
        dim = config.embed_dim
        self.embed, self.proj = nn.Linear(encoder_dim, dim), nn.Linear(dim, encoder_dim)
        self.mask_tokens = nn.Parameter(torch.zeros(config.num_mask_tokens, dim))
        self.blocks = nn.ModuleList(
            PlainBlock(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, features: Tensor, context: Tensor, hidden: Tensor, grid: Grid, index: int) -> Tensor:
        """Predict the features `[B, p, D]` of tokens `hidden [B, p]`.

        `features [B, n, D]` are those of tokens `context [B, n]`.
        """
        x = self.embed(features)
        queries = self.mask_tokens[index].to(x.dtype).expand(len(x), hidden.shape[1], -1)
        x, tokens = torch.cat([x, queries], dim=1), torch.cat([context, hidden], dim=1)
        for block in self.blocks:
            x = block(x, tokens, grid)
        return self.proj(self.norm(x[:, context.shape[1] :]))


class PlainStep:
    """Optimizer steps: target, two masked passes, backward, AdamW, moving average; each call takes one."""

    def __init__(
        self, encoder: EncoderConfig, predictor: MaskedPredictorConfig, *, lr: float, momentum: float
    ) -> None:
        self.encoder = PlainEncoder(encoder)
        self.predictor = PlainPredictor(predictor, encoder.embed_dim)
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.momentum = momentum
        trained = [*self.encoder.parameters(), *self.predictor.parameters()]
        self.optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.04)

    def to(self, device: torch.device) -> PlainStep:
        """Move everything to a device."""
        for module in (self.encoder, self.predictor, self.target):
            module.to(device)
        return self

    def __call__(
        self, video: Tensor, masks: list[tuple[Tensor, Tensor]], grid: Grid, dtype: torch.dtype
    ) -> float:
        """Train on `video [B, T, C, H, W]` with masks of context and target tokens, `[B, n]` each; return the loss."""
        with in_precision(video.device, dtype):
            with torch.no_grad():
                targets = self.target(video)
                targets = F.layer_norm(targets, targets.shape[-1:])
            losses = []
            for index, (context, hidden) in enumerate(masks):
                features = self.encoder(video, context)
                predicted = self.predictor(features, context, hidden, grid, index)
                expected = targets.gather(1, hidden.unsqueeze(-1).expand(-1, -1, targets.shape[-1]))
                losses.append((predicted - expected).abs().mean())
            loss = torch.stack(losses).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        with torch.no_grad():
            for average, online in zip(self.target.parameters(), self.encoder.parameters(), strict=True):
                average.mul_(self.momentum).add_(online, alpha=1 - self.momentum)
        return loss.item()
