"""The released encoder sizes, and the hyperparameters that cannot be inferred from weight shapes. Free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A released encoder size.

    Attributes:
        name: Its name in the papers.
        embed_dim: Width.
        depth: Blocks.
        num_heads: Attention heads with rotary positions (V-JEPA 2, 2.1).
        mlp_hidden: Hidden width of the MLPs.
        sincos_heads: Attention heads with added positions (V-JEPA 1, I-JEPA).
    """

    name: str
    embed_dim: int
    depth: int
    num_heads: int
    mlp_hidden: int
    sincos_heads: int

    def __str__(self) -> str:
        return f"{self.name} (width {self.embed_dim}, {self.depth} blocks, {self.num_heads} heads)"


def _known(name: str, size: tuple[int, int], heads: int, hidden: int, sincos_heads: int = 0) -> Architecture:
    width, depth = size
    return Architecture(
        name=name,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_hidden=hidden,
        sincos_heads=sincos_heads or heads,
    )


#: Source: the model tables of V-JEPA 2 (arXiv:2506.09985), V-JEPA 2.1 (arXiv:2603.14482) and their released code. The
#: two largest have 16 heads in V-JEPA 1 and I-JEPA, and heads of 64 channels since.
ARCHITECTURES = (
    _known("tiny", (192, 12), 3, 768),
    _known("small", (384, 12), 6, 1536),
    _known("base", (768, 12), 12, 3072),
    _known("large", (1024, 24), 16, 4096),
    _known("huge", (1280, 32), 16, 5120),
    _known("giant", (1408, 40), 22, 6144, sincos_heads=16),
    _known("gigantic", (1664, 48), 26, 8192, sincos_heads=16),
)

#: Attention heads of the released masked and action-conditioned predictors, by width; of probes of any width.
MASKED_PREDICTOR_HEADS = {384: 12}
ACTION_PREDICTOR_HEADS = {1024: 16}
PROBE_HEADS = 16

#: Blocks, from 0, after which V-JEPA 2.1 has an output norm, by depth.
LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}


def heads_of_width(embed_dim: int, *, sincos: bool = False) -> int | None:
    """Return the attention heads of the known encoder of this width, or None.

    Args:
        embed_dim: Width.
        sincos: With added positions (V-JEPA 1, I-JEPA) instead of rotary ones.
    """
    for known in ARCHITECTURES:
        if known.embed_dim == embed_dim:
            return known.sincos_heads if sincos else known.num_heads
    return None


def nearest_architecture(embed_dim: int, depth: int) -> Architecture:
    """Return the known encoder whose width and depth differ by the least factor."""

    def distance(known: Architecture) -> float:
        width = abs(math.log(known.embed_dim / max(embed_dim, 1)))
        return width + abs(math.log(known.depth / max(depth, 1)))

    return min(ARCHITECTURES, key=distance)
