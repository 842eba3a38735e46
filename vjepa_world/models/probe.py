"""Probes: classifiers and regressors on the tokens of a frozen encoder.

Legend: B clips, N tokens, D width, h heads, K outputs (classes, or numbers that are regressed).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vjepa_world.errors import ConfigError
from vjepa_world.models.config import ProbeConfig
from vjepa_world.models.transformer import Block, Mlp, init_weights, refuse_blocks_beyond_memory
from vjepa_world.ops.attention import attention
from vjepa_world.ops.tensor_checks import check_finite, check_tokens

INIT_STD = 0.02


class CrossAttention(nn.Module):
    """Multi-head attention from queries to tokens, without an output projection."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Attend from `query [B, Q, D]` to `tokens [B, N, D]`; returns `[B, Q, D]`."""
        q = self.q(query).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        k, v = self.kv(tokens).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return attention(q, k, v).transpose(1, 2).flatten(-2)


class CrossAttentionBlock(nn.Module):
    r"""Cross-attention and MLP: :math:`q' = q + A(q, LN(x))`, then :math:`q' + MLP(LN(q'))`.

    The queries are not normalised before the attention.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.xattn = CrossAttention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Return the updated `query [B, Q, D]`, which attends to `tokens [B, N, D]`."""
        query = query + self.xattn(query, self.norm1(tokens))
        return query + self.mlp(self.norm2(query))


class AttentivePooler(nn.Module):
    """Self-attention over the tokens, then one learned query that attends to them."""

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        dim, heads = config.embed_dim, config.num_heads
        self.query_tokens = nn.Parameter(torch.zeros(1, 1, dim))
        refuse_blocks_beyond_memory(dim, config.depth, config.mlp_ratio)
        blocks = [Block(dim, heads, config.mlp_ratio, config.norm_eps) for _ in range(config.depth - 1)]
        self.blocks = nn.ModuleList(blocks)
        self.cross_attention_block = CrossAttentionBlock(dim, heads, config.mlp_ratio, config.norm_eps)

    def forward(self, features: Tensor) -> Tensor:
        """Pool `features [B, N, D]` to `[B, D]`."""
        for block in self.blocks:
            features = block(features, None)
        query = self.query_tokens.expand(len(features), -1, -1)
        pooled: Tensor = self.cross_attention_block(query, features)
        return pooled.squeeze(1)


class AttentiveProbe(nn.Module):
    """An attentive pooler and a linear map: classes, or numbers, from all tokens.

    Source: V-JEPA 2 (arXiv:2506.09985, section 4 and appendix): three blocks of self-attention and one of
    cross-attention. Names and shapes are those of the released probes.
    """

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        _check_kind(config, "attentive")
        self.config = config
        self.pooler = AttentivePooler(config)
        self.linear = nn.Linear(config.embed_dim, config.num_outputs)
        init_weights(self, self.pooler.blocks, INIT_STD)
        nn.init.trunc_normal_(self.pooler.query_tokens, std=INIT_STD)
        with torch.no_grad():  # the cross-attention block is scaled as the last block before it
            last = max(config.depth - 1, 1)
            self.pooler.cross_attention_block.mlp.fc2.weight.div_(math.sqrt(2 * last))

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs `[B, K]` (logits, or numbers) for `features [B, N, D]`.

        Raises:
            ConfigError: If the features are of another width, no `[B, N, D]`, without tokens, or not finite.
        """
        _check_features(features, self.config)
        out: Tensor = self.linear(self.pooler(features.to(self.linear.weight.dtype)))
        return out


class LinearProbe(nn.Module):
    r"""A linear map of the standardised mean token: :math:`W (\bar x - \mu) / \sigma + b`.

    :math:`\mu` and :math:`\sigma` are those of the training clips' mean tokens and part of the weights. They leave the
    probe linear, unlike a LayerNorm, and remove the offset that all clips share, compared with which the differences
    between clips are small. The affine-free BatchNorm of masked autoencoders' linear probes (arXiv:2111.06377, appendix
    A) does so too; fixed statistics do not depend on the batch.

    Attributes:
        feature_mean: :math:`\mu`, `[D]`.
        feature_std: :math:`\sigma`, `[D]`.
    """

    feature_mean: Tensor
    feature_std: Tensor

    def __init__(self, config: ProbeConfig) -> None:
        super().__init__()
        _check_kind(config, "linear")
        self.config = config
        self.linear = nn.Linear(config.embed_dim, config.num_outputs)
        self.register_buffer("feature_mean", torch.zeros(config.embed_dim))
        self.register_buffer("feature_std", torch.ones(config.embed_dim))
        init_weights(self, (), INIT_STD)

    @torch.no_grad()
    def set_statistics(self, means: Tensor) -> None:
        """Set the statistics to those of training clips' mean tokens `[M, D]`; constant features are not rescaled."""
        means = means.float()
        std = means.std(dim=0, correction=0)
        self.feature_mean.copy_(means.mean(dim=0))
        self.feature_std.copy_(torch.where(std > 1e-6, std, 1.0))

    def forward(self, features: Tensor) -> Tensor:
        """Return the outputs `[B, K]` (logits, or numbers) for `features [B, N, D]`.

        Raises:
            ConfigError: If the features are of another width, no `[B, N, D]`, without tokens, or not finite.
        """
        _check_features(features, self.config)
        # Rounded to half precision, the mean would lose the differences that remain without the common offset.
        mean = features.mean(dim=1, dtype=torch.promote_types(features.dtype, torch.float32))
        standard = (mean - self.feature_mean) / self.feature_std
        out: Tensor = self.linear(standard.to(self.linear.weight.dtype))
        return out


Probe = AttentiveProbe | LinearProbe


def build_probe(config: ProbeConfig) -> Probe:
    """Return a new probe of `config.kind`."""
    return AttentiveProbe(config) if config.kind == "attentive" else LinearProbe(config)


def _check_features(features: Tensor, config: ProbeConfig) -> None:
    check_tokens("features", features, config.embed_dim)
    if not features.shape[1]:
        raise ConfigError(
            f"features of shape {list(features.shape)} have no tokens; give at least one for each clip."
        )
    check_finite("features", features)


def _check_kind(config: ProbeConfig, kind: str) -> None:
    if config.kind != kind:
        raise ConfigError(
            f"this is a probe of kind '{kind}', its config says '{config.kind}'; use build_probe."
        )
