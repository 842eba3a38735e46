"""The stage between the frozen features and the predictor: fewer tokens per frame, pooled or learned.

Legend: M frames, V views, h w a view's grid of tokens, n = h*w, D feature width, L learned tokens per view.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.config import LatentsConfig
from vjepa_world.models.probe import CrossAttentionBlock
from vjepa_world.models.transformer import build_blocks
from vjepa_world.ops.sincos import resize_positions, sincos_positions

MLP_RATIO = 4.0


def pool_tokens(tokens: Tensor, side: int) -> Tensor:
    """Average the square grid of `tokens [M, n, D]` over areas: `[M, side*side, D]`."""
    size = round(tokens.shape[1] ** 0.5)
    if size == side:
        return tokens
    maps = tokens.transpose(1, 2).unflatten(2, (size, size))
    return F.avg_pool2d(maps, size // side).flatten(2).transpose(1, 2)


def split_views(tokens: Tensor, views: int, rows: int) -> Tensor:
    """Return the tokens of each view: `[M, h*V*w, D]` to `[M*V, h*w, D]`, with `rows` = h."""
    if views == 1:
        return tokens
    return tokens.unflatten(1, (rows, views, -1)).transpose(1, 2).flatten(2, 3).flatten(0, 1)


def join_views(tokens: Tensor, views: int, rows: int) -> Tensor:
    """Concatenate a frame's views along columns: `[M*V, h*w, D]` to `[M, h*V*w, D]`, with `rows` = h."""
    if views == 1:
        return tokens
    return tokens.unflatten(1, (rows, -1)).unflatten(0, (-1, views)).transpose(1, 2).flatten(1, 3)


class LearnedQueries(nn.Module):
    r"""A few learned queries that attend to a view's frozen features, and a small map that reconstructs these.

    .. math::
        z = LN\big(W_o\,G(q, W_i f)\big), \qquad \hat f = W_r\,S(p, W_z z)

    G and S are blocks of cross-attention, q the L queries and p one query for each position of the grid (`places`).
    The reconstruction keeps the learned tokens from collapsing: a predictor's own loss is lowest for tokens that are
    all alike.

    Both kinds of queries are initialised with sine-cosine positions: those of their cells of the grid, which the
    predictor's rotary positions use too.

    Args:
        config: Sizes.
        width: D.
        frozen_side: Tokens along a side of a view's grid.
        views: Views side by side; the same queries attend to each view alone.

    Source: learned queries as in the Perceiver's latents (arXiv:2103.03206) and Q-Former (arXiv:2301.12597).
    """

    def __init__(self, config: LatentsConfig, width: int, frozen_side: int, views: int = 1) -> None:
        super().__init__()
        self.config, self.frozen_side, self.views = config, frozen_side, views
        dim, heads = config.embed_dim, config.num_heads
        places = sincos_positions(1, frozen_side, frozen_side, dim, image=True).unsqueeze(0)
        grids = (1, frozen_side, frozen_side), (1, config.side, config.side)
        self.places, self.queries = (
            nn.Parameter(places),
            nn.Parameter(resize_positions(places, *grids).clone()),
        )
        self.feature_embed, self.feature_proj = nn.Linear(width, dim), nn.Linear(dim, width)
        self.token_embed, self.token_proj = nn.Linear(width, dim), nn.Linear(dim, width)
        self.gather, self.spread = (
            build_blocks(config.depth, dim, heads, MLP_RATIO, kind=CrossAttentionBlock) for _ in range(2)
        )
        # Not init_weights: with its small weights the queries' own positions would outweigh the features.
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=layer.in_features**-0.5)
                nn.init.zeros_(layer.bias)

    def forward(self, frozen: Tensor) -> Tensor:
        """Return the learned tokens `[M, V*L, D]`, LayerNormed, of frozen features `[M, V*n, D]`."""
        frozen = frozen.to(self.feature_embed.weight.dtype)
        features = self.feature_embed(split_views(frozen, self.views, self.frozen_side))
        features = features + self.places
        x = self.queries.expand(len(features), -1, -1)
        for block in self.gather:
            x = block(x, features)
        tokens = self.token_proj(x)
        return join_views(F.layer_norm(tokens, tokens.shape[-1:]), self.views, self.config.side)

    def reconstruct(self, tokens: Tensor) -> Tensor:
        """Return the reconstructed frozen features `[M, V*n, D]` of tokens `[M, V*L, D]`."""
        tokens = tokens.to(self.token_embed.weight.dtype)
        embedded = self.token_embed(split_views(tokens, self.views, self.config.side)) + self.queries
        x = self.places.expand(len(embedded), -1, -1)
        for block in self.spread:
            x = block(x, embedded)
        return join_views(self.feature_proj(x), self.views, self.frozen_side)
