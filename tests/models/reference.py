"""A slow reference transformer in float64, token by token, written from the papers.

Legend: N tokens, D width. One clip at a time, no batch. Weights come from a state dict by their published names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
Position = tuple[float, float, float]
MayLook = Callable[[int, int], bool]


def float64_weights(module: nn.Module) -> Weights:
    return {name: tensor.double() for name, tensor in module.state_dict().items()}


def randomise(module: nn.Module, seed: int, std: float = 0.2) -> None:
    """Give every parameter large random values: with the usual initialisation most mistakes have little effect."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)


def linear(x: Tensor, weights: Weights, name: str) -> Tensor:
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def layer_norm(x: Tensor, weights: Weights, name: str) -> Tensor:
    centred = x - x.mean()
    normal = centred / math.sqrt(float((centred**2).mean()) + 1e-6)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def turn(x: Tensor, position: Position, convention: str) -> Tensor:
    """Turn a query or key of one head: a third of its channels by time, a third by row, a third by column.

    Channels 2i and 2i + 1 are a pair. Interleaved: both turn by angle i, a rotation. Tiled: channel c turns by angle
    c modulo half the channels, so that the two of a pair turn differently.
    """
    channels = 2 * (len(x) // 3 // 2)
    half = channels // 2
    turned = x.clone()
    for axis in range(3):
        for channel in range(channels):
            number = channel % half if convention == "tiled" else channel // 2
            angle = position[axis] / 10000 ** (2 * number / channels)
            at = axis * channels + channel
            partner = -x[at + 1] if channel % 2 == 0 else x[at - 1]
            turned[at] = x[at] * math.cos(angle) + partner * math.sin(angle)
    return turned


def attention(
    tokens: list[Tensor],
    weights: Weights,
    name: str,
    heads: int,
    positions: Sequence[Position],
    may_look: MayLook,
    convention: str,
) -> list[Tensor]:
    width = len(tokens[0]) // heads
    mixed = [linear(x, weights, f"{name}.qkv").view(3, heads, width) for x in tokens]
    outputs = []
    for i, (query, _, _) in enumerate(mixed):
        parts = []
        for head in range(heads):
            seen = [j for j in range(len(tokens)) if may_look(i, j)]
            scores = torch.stack(
                [
                    turn(query[head], positions[i], convention)
                    @ turn(mixed[j][1][head], positions[j], convention)
                    for j in seen
                ]
            )
            shares = torch.softmax(scores / math.sqrt(width), dim=0)
            parts.append(
                sum((s * mixed[j][2][head] for s, j in zip(shares, seen, strict=True)), torch.zeros(width))
            )
        outputs.append(linear(torch.cat(parts), weights, f"{name}.proj"))
    return outputs


def transformer(
    tokens: list[Tensor],
    weights: Weights,
    blocks: str,
    depth: int,
    heads: int,
    positions: Sequence[Position],
    may_look: MayLook = lambda i, j: True,
    convention: str = "tiled",
) -> list[Tensor]:
    for layer in range(depth):
        name = f"{blocks}.{layer}"
        normal = [layer_norm(x, weights, f"{name}.norm1") for x in tokens]
        attended = attention(normal, weights, f"{name}.attn", heads, positions, may_look, convention)
        tokens = [x + y for x, y in zip(tokens, attended, strict=True)]
        hidden = [
            gelu(linear(layer_norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")) for x in tokens
        ]
        tokens = [x + linear(h, weights, f"{name}.mlp.fc2") for x, h in zip(tokens, hidden, strict=True)]
    return tokens


def grid(frames: int, height: int, width: int) -> list[Position]:
    return [(t, h, w) for t in range(frames) for h in range(height) for w in range(width)]


def encode(
    weights: Weights,
    video: Tensor,
    *,
    patch: int,
    tubelet: int,
    depth: int,
    heads: int,
    visible: Sequence[int] | None,
    convention: str = "tiled",
) -> Tensor:
    """Encode `video [T, C, H, W]` to `[N, D]`, or only the visible tokens, which attend only to each other."""
    frames, _, height, width = video.shape
    positions = grid(frames // tubelet, height // patch, width // patch)
    positions = positions if visible is None else [positions[i] for i in visible]
    tokens = []
    for t, h, w in positions:
        piece = video[
            t * tubelet : (t + 1) * tubelet, :, h * patch : (h + 1) * patch, w * patch : (w + 1) * patch
        ]
        kernel = weights["patch_embed.proj.weight"]
        embedded = (kernel * piece.double().transpose(0, 1)).sum(dim=(1, 2, 3, 4))
        tokens.append(embedded + weights["patch_embed.proj.bias"])
    tokens = transformer(tokens, weights, "blocks", depth, heads, positions, convention=convention)
    return torch.stack([layer_norm(x, weights, "norm") for x in tokens])


def layer_norm_with(x: Tensor, weights: Weights, name: str, eps: float) -> Tensor:
    """The LayerNorm above has an eps of 1e-6; a probe's is in its config."""
    centred = x - x.mean()
    normal = centred / math.sqrt(float((centred**2).mean()) + eps)
    return normal * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attentive_probe(tokens: list[Tensor], weights: Weights, *, depth: int, heads: int, eps: float) -> Tensor:
    """Pool the tokens of a clip with one query after `depth` - 1 blocks without positions, and map it to outputs."""

    def mlp(x: Tensor, name: str) -> Tensor:
        normal = layer_norm_with(x, weights, f"{name}.norm2", eps)
        return linear(gelu(linear(normal, weights, f"{name}.mlp.fc1")), weights, f"{name}.mlp.fc2")

    nowhere = [(0.0, 0.0, 0.0)] * len(tokens)  # turns nothing
    for layer in range(depth - 1):
        name = f"pooler.blocks.{layer}"
        normal = [layer_norm_with(x, weights, f"{name}.norm1", eps) for x in tokens]
        attended = attention(
            normal, weights, f"{name}.attn", heads, nowhere, lambda i, j: True, "interleaved"
        )
        tokens = [x + y for x, y in zip(tokens, attended, strict=True)]
        tokens = [x + mlp(x, name) for x in tokens]
    name, width = "pooler.cross_attention_block", len(tokens[0]) // heads
    query = weights["pooler.query_tokens"][0, 0]
    asked = linear(query, weights, f"{name}.xattn.q").view(heads, width)
    normal = [layer_norm_with(x, weights, f"{name}.norm1", eps) for x in tokens]
    offered = [linear(x, weights, f"{name}.xattn.kv").view(2, heads, width) for x in normal]
    found = []
    for head in range(heads):
        scores = torch.stack([asked[head] @ keys[head] for keys, _ in offered]) / math.sqrt(width)
        shares = torch.softmax(scores, dim=0)
        values = [share * v[head] for share, (_, v) in zip(shares, offered, strict=True)]
        found.append(torch.stack(values).sum(dim=0))
    query = query + torch.cat(found)
    return linear(query + mlp(query, name), weights, "linear")


def assert_close(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    """Raise if the largest difference is more than `tolerance` of the largest value; `expected` is the derivation's."""
    assert found.shape == expected.shape, f"{tuple(found.shape)} and {tuple(expected.shape)}"
    worst = float((found.double() - expected.double()).abs().max() / expected.double().abs().max())
    assert worst <= tolerance, f"{worst:.1e} of the largest value apart, at most {tolerance:.0e} is allowed"
