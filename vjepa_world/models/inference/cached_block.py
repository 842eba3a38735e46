"""A transformer block for rollouts: a frozen copy in one number format, with a KV cache that samples share.

It computes what :class:`Block` and :class:`AdaLNBlock` do in a step. The channels of queries and keys are stored with
the even ones first, so that the rotary embedding is two products and a swap of halves; the scale of the attention is in
the rotary factors.

Legend: R rows (samples of problems), M tokens per step, W width, h heads, d channels per head, Q tokens in the
per-sample cache, P tokens in the shared cache, B problems.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.inference.cached_attention import attend
from vjepa_world.models.inference.packed_layers import FrozenLayerNorm, PackedLinear
from vjepa_world.models.transformer import AdaLNBlock, Attention, KeyValues, Mlp
from vjepa_world.ops.rope import RotaryTable


class RotaryFactors(NamedTuple):
    """Factors of the rotary embedding for queries (index 0, with the attention's scale) and keys (index 1).

    Attributes:
        direct: Factors of the channels themselves, `[2, 1, 1, M, d]`.
        swapped: Factors of the channels with their halves swapped, the same shape.
    """

    direct: Tensor
    swapped: Tensor

    def at(self, tokens: slice) -> RotaryFactors:
        """Return the factors of some of the tokens."""
        return RotaryFactors(self.direct[..., tokens, :], self.swapped[..., tokens, :])


def rotary_factors(table: RotaryTable, dtype: torch.dtype) -> RotaryFactors:
    """Return a rotary table `[M, d]` for channels with the even ones first, queries' divided by the root of d."""
    channels = table.cos.shape[-1]
    order = _even_first(channels)
    scale = table.cos.new_tensor([channels**-0.5, 1.0]).view(2, 1, 1, 1, 1)
    direct, swapped = (part[:, order.to(part.device)] * scale for part in table)
    return RotaryFactors(direct.to(dtype), swapped.to(dtype))


class CachedBlock(nn.Module):
    """A frozen copy of a block.

    Args:
        block: Block or AdaLNBlock.
        dtype: Number format.
        pack: Whether the linear maps are packed (:class:`PackedLinear`).
    """

    def __init__(self, block: nn.Module, dtype: torch.dtype, *, pack: bool) -> None:
        super().__init__()
        attn, mlp = block.attn, block.mlp
        assert isinstance(attn, Attention) and isinstance(mlp, Mlp)
        self.heads = attn.num_heads
        self.norm1, self.norm2 = FrozenLayerNorm(block.norm1, dtype), FrozenLayerNorm(block.norm2, dtype)
        self.qkv = PackedLinear(attn.qkv, dtype, rows=_even_channels_first(attn), pack=pack)
        self.proj = PackedLinear(attn.proj, dtype, pack=pack)
        self.fc1 = PackedLinear(mlp.fc1, dtype, pack=pack)
        self.fc2 = PackedLinear(mlp.fc2, dtype, pack=pack)
        self.modulation: PackedLinear | None = None
        if isinstance(block, AdaLNBlock):
            self.modulation = PackedLinear(block.modulation, dtype, pack=pack)

    def forward(
        self,
        x: Tensor,
        condition: Tensor | None,
        rotary: RotaryFactors,
        shared: KeyValues | None,
        own: KeyValues | None,
    ) -> tuple[Tensor, KeyValues]:
        """Transform a step.

        Args:
            x: `[R, M, W]`.
            condition: What modulates an AdaLN block, `[R, W]`; None for others.
            rotary: Of the step's tokens.
            shared: The context's keys and values, `[h, B, P, d]`, or None.
            own: The samples' keys and values so far, `[h, R, Q, d]`, or None.

        Returns:
            The transformed step `[R, M, W]`, and the samples' keys and values with this step, `[h, R, Q+M, d]`.
        """
        modulation = self.modulate(condition)
        q, *step = self.project(x, rotary, modulation)
        cached = KeyValues(*step) if own is None else own.followed_by(KeyValues(*step))
        return self.finish(x, attend(q, *cached, shared), modulation), cached

    def modulate(self, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return shift, scale and gate of both halves for `condition [R, W]`, six `[R, 1, W]`; () without AdaLN."""
        if self.modulation is None:
            return ()
        assert condition is not None
        modulation: Tensor = self.modulation(F.silu(condition))
        return modulation.unsqueeze(1).chunk(6, dim=-1)

    def project(
        self, x: Tensor, rotary: RotaryFactors, modulation: tuple[Tensor, ...]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys (both with rotary embedding) and values of `x [R, M, W]`: `[h, R, M, d]` each."""
        normal = _modulated(self.norm1(x), modulation[:2])
        mixed = self.qkv(normal).unflatten(-1, (3, self.heads, -1)).permute(2, 3, 0, 1, 4).contiguous()
        first, second = mixed[:2].chunk(2, dim=-1)
        swapped = torch.cat([second, first], dim=-1)
        q, k = (mixed[:2] * rotary.direct).addcmul_(swapped, rotary.swapped)
        return q, k, mixed[2]

    def finish(self, x: Tensor, attended: Tensor, modulation: tuple[Tensor, ...]) -> Tensor:
        """Return the block's output `[R, M, W]` for its input `x` and the attention's output, both `[R, M, W]`."""
        x = x + _gated(self.proj(attended), modulation[2:3])
        hidden = self.fc1(_modulated(self.norm2(x), modulation[3:5]))
        torch.ops.aten.gelu_(hidden)  # in place: half the memory traffic
        return x + _gated(self.fc2(hidden), modulation[5:])


def _modulated(normal: Tensor, shift_scale: tuple[Tensor, ...]) -> Tensor:
    if not shift_scale:
        return normal
    shift, scale = shift_scale
    return normal * (1 + scale) + shift


def _gated(change: Tensor, gate: tuple[Tensor, ...]) -> Tensor:
    return gate[0] * change if gate else change


def _even_first(channels: int) -> Tensor:
    return torch.cat([torch.arange(0, channels, 2), torch.arange(1, channels, 2)])


def _even_channels_first(attn: Attention) -> Tensor:
    """Return the order of the outputs of `qkv` in which each head's queries and keys have their even channels first."""
    width = attn.proj.in_features
    channels = width // attn.num_heads
    order = torch.arange(3 * width).view(3, attn.num_heads, channels)
    rotated = order[:2][..., _even_first(channels)]
    return torch.cat([rotated, order[2:]]).flatten()
