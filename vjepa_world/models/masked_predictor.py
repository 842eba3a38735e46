"""The masked predictor: from the visible tokens' features to the hidden tokens' features.

Legend: B clips, Nc context tokens, Np target tokens, N = Nc + Np, E input width, O output width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import MaskedPredictorConfig
from vjepa_world.models.transformer import NORM_EPS, build_blocks, init_weights, run_block
from vjepa_world.ops.rope import grid_positions, rotary_table
from vjepa_world.ops.tensor_checks import check_indices, check_tokens


class MaskedPredictor(nn.Module):
    """A narrow transformer over context features and positioned mask tokens.

    Attributes:
        recompute: Set it to trade time for memory in training.

    Source: V-JEPA 2 (arXiv:2506.09985, section 2); several levels, the context output and the modality embeddings
    are V-JEPA 2.1's (arXiv:2603.14482).
    """

    def __init__(self, config: MaskedPredictorConfig, encoder_dim: int) -> None:
        super().__init__()
        self.config, self.width = config, config.input_levels * encoder_dim
        self.recompute = False
        dim, width = config.embed_dim, config.input_levels * encoder_dim
        self.predictor_embed: nn.Module
        if config.input_levels == 1:
            self.predictor_embed = nn.Linear(encoder_dim, dim)
        else:
            self.predictor_embed = nn.Sequential(
                nn.Linear(width, encoder_dim), nn.GELU(), nn.Linear(encoder_dim, dim)
            )
        tokens = [nn.Parameter(torch.zeros(1, 1, dim)) for _ in range(config.num_mask_tokens)]
        self.mask_tokens = nn.ParameterList(tokens)
        if config.image_embed:
            self.img_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
            self.video_mod_embed = nn.Parameter(torch.zeros(1, 1, dim))
        self.predictor_blocks = build_blocks(config.depth, dim, config.num_heads, config.mlp_ratio)
        self.predictor_norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.predictor_proj = nn.Linear(dim, config.output_dim or width)
        if config.context_output:
            self.predictor_proj_context = nn.Linear(dim, config.output_dim or width)
        init_weights(self, self.predictor_blocks)

    def forward(
        self,
        features: Tensor,
        context: Tensor,
        target: Tensor,
        grid: tuple[int, int, int],
        mask_index: int,
        *,
        image: bool | None = None,
    ) -> Tensor:
        """Predict the features of the target tokens.

        Args:
            features: Encoded context tokens, `[B, Nc, E]`, of all levels side by side.
            context: Their indices, `[B, Nc]`.
            target: Indices to predict, `[B, Np]`.
            grid: Token grid (t, h, w).
            mask_index: Which mask family's token is used.
            image: Whether the encoder's input was a single frame (`config.image_embed`); None means so if t = 1.

        Returns:
            `[B, Np, O]`.

        Raises:
            ConfigError: If the features are of another width, an index is of no token of the grid, or there are not as
                many features as context tokens.
        """
        tokens = self._transform(features, context, target, grid, mask_index, image)
        out: Tensor = self.predictor_proj(tokens[:, context.shape[1] :])
        return out

    def dense(
        self,
        features: Tensor,
        context: Tensor,
        target: Tensor,
        grid: tuple[int, int, int],
        mask_index: int,
        *,
        image: bool | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Predict target and context tokens, `[B, Np, O]` and `[B, Nc, O]`; arguments as in :meth:`forward`.

        Raises:
            ConfigError: As :meth:`forward`, and if this predictor predicts no context (`config.context_output`).
        """
        if not self.config.context_output:
            raise ConfigError(
                "this predictor has no projection of context tokens (context_output is false); call it for the targets "
                "alone."
            )
        tokens = self._transform(features, context, target, grid, mask_index, image)
        count = context.shape[1]
        return self.predictor_proj(tokens[:, count:]), self.predictor_proj_context(tokens[:, :count])

    def _check(self, features: Tensor, context: Tensor, target: Tensor, grid: tuple[int, int, int]) -> None:
        check_tokens("features", features, self.width)
        for name, indices in (("context", context), ("target", target)):
            check_indices(name, indices, math.prod(grid), len(features))
        if features.shape[1] != context.shape[1]:
            raise ConfigError(
                f"got {features.shape[1]} features with {context.shape[1]} context indices; give one index for each "
                "feature."
            )

    def _transform(
        self,
        features: Tensor,
        context: Tensor,
        target: Tensor,
        grid: tuple[int, int, int],
        mask_index: int,
        image: bool | None,
    ) -> Tensor:
        self._check(features, context, target, grid)
        x = self.predictor_embed(features.to(self.predictor_proj.weight.dtype))
        token = self.mask_tokens[mask_index % len(self.mask_tokens)]
        queries = token.to(x.dtype).expand(len(x), target.shape[1], -1)
        x = torch.cat([x, queries], dim=1)
        if self.config.image_embed:
            image = grid[0] == 1 if image is None else image
            x = x + (self.img_mod_embed if image else self.video_mod_embed)
        table = grid_positions(*grid, device=x.device, span=self.config.rope_span)
        positions = table[torch.cat([context, target], dim=1)]
        head_dim = self.config.embed_dim // self.config.num_heads
        rotary = rotary_table(positions, head_dim, self.config.positions).unsqueeze(1)
        for block in self.predictor_blocks:
            x = run_block(block, x, rotary, recompute=self.recompute)
        return self.predictor_norm(x)
