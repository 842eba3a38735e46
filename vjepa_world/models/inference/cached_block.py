"""A transformer block as imagining runs it: frozen, in one number format, for many samples that share a past.

It computes what :class:`Block` and :class:`AdaLNBlock` do in a step. The channels of queries and keys are stored with
the even ones first, so that turning them is two products and a swap of halves; the scale of the attention is in the
factors.

Legend: R samples, M tokens a step, W width, h heads, d channels a head, Q tokens of the steps imagined so far.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vjepa_world.models.adaln import AdaLNBlock
from vjepa_world.models.inference.cached_attention import SharedPast, attend
from vjepa_world.models.inference.packed_linear import PackedLinear, own
from vjepa_world.models.transformer import Attention, Mlp
from vjepa_world.ops.rope import Rotation


class Turn(NamedTuple):
    """What queries and keys are multiplied with: themselves, and with their halves swapped; `[2, 1, 1, M, d]` each."""

    straight: Tensor
    crossed: Tensor

    def of(self, tokens: slice) -> Turn:
        """Return the factors of some of the tokens."""
        return Turn(self.straight[..., tokens, :], self.crossed[..., tokens, :])


class OwnPast(NamedTuple):
    """What one layer remembers of the steps that each sample has imagined: `keys`, `values` `[h, R, Q, d]`."""

    keys: Tensor
    values: Tensor


def make_turn(rotation: Rotation, dtype: torch.dtype) -> Turn:
    """Return a rotation `[M, d]` for channels whose even ones come first, queries' part divided by the root of d."""
    channels = rotation.cos.shape[-1]
    order = _even_first(channels)
    scale = rotation.cos.new_tensor([channels**-0.5, 1.0]).view(2, 1, 1, 1, 1)
    straight, crossed = (part[:, order.to(part.device)] * scale for part in rotation)
    return Turn(straight.to(dtype), crossed.to(dtype))


class FastBlock(nn.Module):
    """A block's weights, copied.

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
        self.norm1, self.norm2 = FastNorm(block.norm1, dtype), FastNorm(block.norm2, dtype)
        self.qkv = PackedLinear(attn.qkv, dtype, rows=_halves_first(attn), pack=pack)
        self.proj = PackedLinear(attn.proj, dtype, pack=pack)
        self.fc1 = PackedLinear(mlp.fc1, dtype, pack=pack)
        self.fc2 = PackedLinear(mlp.fc2, dtype, pack=pack)
        self.modulation: PackedLinear | None = None
        if isinstance(block, AdaLNBlock):
            self.modulation = PackedLinear(block.modulation, dtype, pack=pack)

    def forward(
        self, x: Tensor, condition: Tensor | None, turn: Turn, shared: SharedPast | None, own: OwnPast | None
    ) -> tuple[Tensor, OwnPast]:
        """Transform a step `x [R, M, W]` told of `condition [R, W]`, and return what is remembered with it."""
        parts = self.modulate(condition)
        q, k, v = self.project(x, turn, parts)
        if own is not None:
            k, v = torch.cat([own.keys, k], dim=2), torch.cat([own.values, v], dim=2)
        return self.finish(x, attend(q, k, v, shared), parts), OwnPast(k, v)

    def modulate(self, condition: Tensor | None) -> tuple[Tensor, ...]:
        """Return shift, scale and gate of both halves for `condition [R, W]`, six `[R, 1, W]`; none without AdaLN."""
        if self.modulation is None:
            return ()
        assert condition is not None
        parts: Tensor = self.modulation(F.silu(condition))
        return parts.unsqueeze(1).chunk(6, dim=-1)

    def project(self, x: Tensor, turn: Turn, parts: tuple[Tensor, ...]) -> tuple[Tensor, Tensor, Tensor]:
        """Return turned queries and keys, and values, of `x [R, M, W]`: `[h, R, M, d]` each."""
        normal = _modulated(self.norm1(x), parts[:2])
        mixed = self.qkv(normal).unflatten(-1, (3, self.heads, -1)).permute(2, 3, 0, 1, 4).contiguous()
        first, second = mixed[:2].chunk(2, dim=-1)
        swapped = torch.cat([second, first], dim=-1)
        q, k = (mixed[:2] * turn.straight).addcmul_(swapped, turn.crossed)
        return q, k, mixed[2]

    def finish(self, x: Tensor, attended: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
        """Add to the stream `x [R, M, W]` what was attended to, and the MLP of the sum."""
        x = x + _gated(self.proj(attended), parts[2:3])
        hidden = self.fc1(_modulated(self.norm2(x), parts[3:5]))
        torch.ops.aten.gelu_(hidden)  # in place: half the memory traffic
        return x + _gated(self.fc2(hidden), parts[5:])


class FastNorm(nn.Module):
    """A LayerNorm's weights, copied."""

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.Module | Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        assert isinstance(norm, nn.LayerNorm)
        self.shape, self.eps = norm.normalized_shape, norm.eps
        for name, value in (("weight", norm.weight), ("bias", norm.bias)):
            self.register_buffer(name, None if value is None else own(value, dtype))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise `x [..., W]`."""
        return F.layer_norm(x, self.shape, self.weight, self.bias, self.eps)


def _modulated(normal: Tensor, parts: tuple[Tensor, ...]) -> Tensor:
    if not parts:
        return normal
    shift, scale = parts
    return normal * (1 + scale) + shift


def _gated(change: Tensor, gate: tuple[Tensor, ...]) -> Tensor:
    return gate[0] * change if gate else change


def _even_first(channels: int) -> Tensor:
    return torch.cat([torch.arange(0, channels, 2), torch.arange(1, channels, 2)])


def _halves_first(attn: Attention) -> Tensor:
    """Return the order of the outputs of `qkv` in which each head's queries and keys have their even channels first."""
    width = attn.proj.in_features
    channels = width // attn.num_heads
    order = torch.arange(3 * width).view(3, attn.num_heads, channels)
    turned = order[:2][..., _even_first(channels)]
    return torch.cat([turned, order[2:]]).flatten()
