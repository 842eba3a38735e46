"""The pre-LayerNorm transformer that encoders and predictors share, and its block with AdaLN-zero.

Legend: B batch, N tokens, D width, h heads, T steps, M tokens per step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from vjepa_world.ops.attention import attention, step_causal_attention
from vjepa_world.ops.rope import RotaryTable, apply_rotary
from vjepa_world.system.memory import refuse_beyond_memory

NORM_EPS = 1e-6


def refuse_blocks_beyond_memory(dim: int, depth: int, mlp_ratio: float) -> None:
    """Check that the weights of some blocks fit into memory, before any is allocated.

    Raises:
        ConfigError: If they do not fit.
    """
    if torch.get_default_device().type == "cpu":  # on `meta` they take none
        weights = depth * dim**2 * (4 + 2 * mlp_ratio)
        refuse_beyond_memory(
            torch.get_default_dtype().itemsize * weights,
            f"the weights of {depth} blocks of width {dim}",
            "lower embed_dim, depth or mlp_ratio",
        )


class KeyValues(NamedTuple):
    """Keys and values of one attention layer for N tokens.

    Attributes:
        keys: `[B, h, N, D/h]`, or with the heads first.
        values: The same shape.
    """

    keys: Tensor
    values: Tensor

    def followed_by(self, later: KeyValues) -> KeyValues:
        """Return these tokens and later ones."""
        keys, values = (torch.cat(pair, dim=2) for pair in zip(self, later, strict=True))
        return KeyValues(keys, values)

    def repeat(self, samples: int) -> KeyValues:
        """Return `[B, h, N, D/h]` as `[B*S, h, N, D/h]`, each entry S = `samples` times."""
        keys, values = (part.repeat_interleave(samples, dim=0) for part in self)
        return KeyValues(keys, values)


class Attention(nn.Module):
    """Multi-head self-attention, with rotary positions where a table is given."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def _project(self, x: Tensor, rotary: RotaryTable | None) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return (q, k, v) if rotary is None else (apply_rotary(q, rotary), apply_rotary(k, rotary), v)

    def forward(self, x: Tensor, rotary: RotaryTable | None, steps: int = 1) -> Tensor:
        """Attend: `x [B, N, D]` to the same shape.

        With `steps` > 1, tokens attend to their own step of N/steps tokens and to the steps before.
        """
        q, k, v = self._project(x, rotary)
        return self.proj(step_causal_attention(q, k, v, steps).transpose(1, 2).flatten(-2))

    def step(self, x: Tensor, rotary: RotaryTable, past: KeyValues | None) -> tuple[Tensor, KeyValues]:
        """Attend from the newest step `x [B, M, D]` and cached ones; returns `[B, M, D]` and the cache."""
        q, k, v = self._project(x, rotary)
        cached = KeyValues(k, v) if past is None else past.followed_by(KeyValues(k, v))
        out = attention(q, *cached)
        return self.proj(out.transpose(1, 2).flatten(-2)), cached


class Mlp(nn.Module):
    """Two linear maps with a GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `x [..., D]` to the same shape."""
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention and MLP, each after a LayerNorm and added to the residual stream."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))

    def forward(self, x: Tensor, rotary: RotaryTable | None, steps: int = 1) -> Tensor:
        """Transform `x [B, N, D]` to the same shape; arguments as in :class:`Attention`."""
        x = x + self.attn(self.norm1(x), rotary, steps)
        return x + self.mlp(self.norm2(x))

    def step(self, x: Tensor, rotary: RotaryTable, past: KeyValues | None) -> tuple[Tensor, KeyValues]:
        """Transform the newest step `x [B, M, D]`; returns `[B, M, D]` and the cache with this step."""
        attended, cached = self.attn.step(self.norm1(x), rotary, past)
        x = x + attended
        return x + self.mlp(self.norm2(x)), cached


class AdaLNBlock(nn.Module):
    r"""Attention and MLP, each shifted, scaled and gated by the step's condition c.

    .. math::
        x' = x + g_1(c)\,A\big((1 + \gamma_1(c))\,LN(x) + \beta_1(c)\big), \quad
        x'' = x' + g_2(c)\,MLP\big((1 + \gamma_2(c))\,LN(x') + \beta_2(c)\big)

    :math:`(\beta, \gamma, g)_{1,2} = W\,\mathrm{silu}(c) + b` with W and b zero before training, so that the block is
    the identity then.

    Source: DiT (arXiv:2212.09748, section 3.2); as a world model's predictor LeWM (arXiv:2603.19312).
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float, eps: float = NORM_EPS) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.attn = Attention(dim, num_heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps, elementwise_affine=False)
        self.mlp = Mlp(dim, round(dim * mlp_ratio))
        self.modulation = nn.Linear(dim, 6 * dim)
        self.zero_modulation()

    def zero_modulation(self) -> None:
        """Make the block the identity."""
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Tensor, rotary: RotaryTable | None, steps: int, condition: Tensor) -> Tensor:
        """Transform `x [B, T*M, D]` given `condition [B, T, D]`; steps attend to themselves and those before."""
        return self._transformed(x, condition, lambda normal: self.attn(normal, rotary, steps))

    def step(
        self, x: Tensor, rotary: RotaryTable, past: KeyValues | None, condition: Tensor
    ) -> tuple[Tensor, KeyValues]:
        """Transform the newest step `x [B, M, D]` given `condition [B, 1, D]`; returns `[B, M, D]` and the cache."""
        cache: list[KeyValues] = []

        def attend(normal: Tensor) -> Tensor:
            attended, cached = self.attn.step(normal, rotary, past)
            cache.append(cached)
            return attended

        return self._transformed(x, condition, attend), cache[0]

    def _transformed(self, x: Tensor, condition: Tensor, attend: Callable[[Tensor], Tensor]) -> Tensor:
        by_step = x.unflatten(1, (condition.shape[1], -1))
        parts = self.modulation(F.silu(condition)).unsqueeze(2).chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = parts
        normal = self.norm1(by_step) * (1 + scale1) + shift1
        by_step = by_step + gate1 * attend(normal.flatten(1, 2)).unflatten(1, by_step.shape[1:3])
        normal = self.norm2(by_step) * (1 + scale2) + shift2
        return (by_step + gate2 * self.mlp(normal)).flatten(1, 2)


def build_blocks(
    depth: int,
    dim: int,
    num_heads: int,
    mlp_ratio: float,
    eps: float = NORM_EPS,
    kind: type[nn.Module] = Block,
) -> nn.ModuleList:
    """Return `depth` blocks of a kind, if their weights fit into memory.

    Raises:
        ConfigError: If they do not fit.
    """
    refuse_blocks_beyond_memory(dim, depth, mlp_ratio)
    return nn.ModuleList(kind(dim, num_heads, mlp_ratio, eps) for _ in range(depth))


def run_block(
    block: nn.Module,
    x: Tensor,
    rotary: RotaryTable | None,
    steps: int = 1,
    *condition: Tensor,
    recompute: bool = False,
) -> Tensor:
    """Run a block on `x [B, N, D]`.

    With `recompute` its inner activations are not stored and are computed again in the backward pass.
    """
    if recompute and torch.is_grad_enabled():
        result: Tensor = checkpoint(block, x, rotary, steps, *condition, use_reentrant=False)
        return result
    out: Tensor = block(x, rotary, steps, *condition)
    return out


def init_weights(module: nn.Module, blocks: Iterable[nn.Module], std: float = 0.02) -> None:
    """Initialise as V-JEPA 2 does: truncated normal, the maps that add to the residual stream divided by sqrt(2 l)."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv3d):
            nn.init.trunc_normal_(layer.weight, std=std)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    with torch.no_grad():
        for depth, block in enumerate(blocks, start=1):
            assert isinstance(block.attn, Attention) and isinstance(block.mlp, Mlp)
            block.attn.proj.weight.div_(math.sqrt(2 * depth))
            block.mlp.fc2.weight.div_(math.sqrt(2 * depth))
