"""The masked predictor: from the visible tokens' features to the hidden tokens' features.

Legend: B clips, Nc context tokens, Np target tokens, N = Nc + Np, D encoder width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vjepa_world.models.config import MaskedPredictorConfig
from vjepa_world.models.transformer import NORM_EPS, Block, init_weights
from vjepa_world.ops.rope import grid_positions, rope_rotation


class MaskedPredictor(nn.Module):
    """A narrow transformer over context features and positioned mask tokens.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2).
    """

    def __init__(self, config: MaskedPredictorConfig, encoder_dim: int, num_masks: int) -> None:
        super().__init__()
        self.config = config
        dim = config.embed_dim
        self.predictor_embed = nn.Linear(encoder_dim, dim)
        self.mask_tokens = nn.ParameterList([nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(num_masks)])
        blocks = [Block(dim, config.num_heads, config.mlp_ratio) for _ in range(config.depth)]
        self.predictor_blocks = nn.ModuleList(blocks)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, encoder_dim)
        init_weights(self, self.predictor_blocks)

    def forward(
        self, features: Tensor, context: Tensor, target: Tensor, grid: tuple[int, int, int], mask_index: int
    ) -> Tensor:
        """Predict the features of the target tokens.

        Args:
            features: Encoded context tokens, `[B, Nc, D]`.
            context: Their indices, `[B, Nc]`.
            target: Indices to predict, `[B, Np]`.
            grid: Token grid (t, h, w).
            mask_index: Which mask family's token stands in.

        Returns:
            `[B, Np, D]`.
        """
        x = self.predictor_embed(features)
        queries = self.mask_tokens[mask_index].to(x.dtype).expand(len(x), target.shape[1], -1)
        x = torch.cat([x, queries], dim=1)
        positions = grid_positions(*grid, device=x.device)[torch.cat([context, target], dim=1)]
        rotation = rope_rotation(positions, self.config.embed_dim // self.config.num_heads).unsqueeze(1)
        for block in self.predictor_blocks:
            x = block(x, rotation)
        return self.predictor_proj(self.predictor_norm(x[:, context.shape[1] :]))
