"""A transformer block whose LayerNorms are modulated by actions and states: AdaLN-zero.

Legend: B batch, T steps, M tokens a step, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.transformer import NORM_EPS, Attention, KeyValues, Mlp
from vjepa_world.ops.rope import RotaryTable


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
