r"""Floating-point operations of training, counted from the architecture: matrix products and attention alone.

A product of `[n, i]` and `[i, o]` is 2 n i o operations. A backward pass multiplies twice as much as its forward
pass, for the gradients of inputs and of weights; the first layer needs no gradient of its input. Norms,
activations, rotations and the optimizer are left out, as is usual: they are a few per cent.

Legend: N tokens of a sequence, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, MaskedPredictorConfig

CHANNELS = 3


@dataclass(frozen=True)
class Forward:
    """Operations of one forward pass.

    Attributes:
        first: Of the layer whose input needs no gradient.
        blocks: Of the transformer's blocks, which may be computed again in the backward pass.
        ends: Of these, the blocks' last products, whose results the backward pass does not need again.
        others: Of all other layers.
    """

    first: float = 0.0
    blocks: float = 0.0
    ends: float = 0.0
    others: float = 0.0

    @property
    def total(self) -> float:
        """Of the forward pass."""
        return self.first + self.blocks + self.others

    def trained(self, *, recompute: bool = False) -> float:
        """Return those of a forward and a backward pass, with the blocks' forward pass twice if it is recomputed."""
        again = self.blocks - self.ends if recompute else 0.0
        return 2 * self.first + 3 * (self.blocks + self.others) + again


class MaskTokens(NamedTuple):
    """Tokens of a clip in one mask family: visible ones, and hidden ones in each of `targets` sets."""

    context: int
    hidden: int
    targets: int = 1


def block_flops(tokens: int, width: int, mlp_ratio: float) -> float:
    r"""Return :math:`2 N (4 D^2 + 2 D\,D_{mlp}) + 4 N^2 D`, one block on one sequence."""
    hidden = round(width * mlp_ratio)
    return 2.0 * tokens * (4 * width**2 + 2 * width * hidden) + 4.0 * tokens**2 * width


def encoder_forward(config: EncoderConfig, tokens: int, *, image: bool = False) -> Forward:
    """Count the encoder's forward pass on one sequence.

    Args:
        config: The architecture.
        tokens: Tokens of the sequence; of a masked clip the visible ones.
        image: Whether it is a single frame, whose patches have no time.
    """
    patch = CHANNELS * (1 if image else config.tubelet_size) * config.patch_size**2
    return Forward(first=2.0 * tokens * patch * config.embed_dim, **_blocks(config, tokens))


def predictor_forward(
    config: MaskedPredictorConfig, encoder_dim: int, context: int, target: int, *, dense: bool = False
) -> Forward:
    """Count the masked predictor's forward pass on one sequence.

    Args:
        config: The architecture.
        encoder_dim: Width of the encoder.
        context: Visible tokens.
        target: Hidden tokens.
        dense: Whether the context tokens are predicted too.
    """
    width, wide = config.embed_dim, config.input_levels * encoder_dim
    embed = wide * width if config.input_levels == 1 else wide * encoder_dim + encoder_dim * width
    out = width * (config.output_dim or wide)
    ends = 2.0 * (context * embed + (target + (context if dense else 0)) * out)
    return Forward(others=ends, **_blocks(config, context + target))


def _blocks(config: EncoderConfig | MaskedPredictorConfig, tokens: int) -> dict[str, float]:
    last = 2.0 * tokens * config.embed_dim * round(config.embed_dim * config.mlp_ratio)
    blocks = block_flops(tokens, config.embed_dim, config.mlp_ratio)
    return {"blocks": config.depth * blocks, "ends": config.depth * last}


def pretrain_flops(
    encoder: EncoderConfig,
    predictor: MaskedPredictorConfig,
    *,
    clips: int,
    tokens: int,
    masks: Sequence[MaskTokens],
    target: EncoderConfig | None,
    image: bool = False,
    dense: bool = False,
    recompute: bool = False,
) -> float:
    """Count one step of masked prediction: the target's forward pass, and each mask family forward and backward.

    Args:
        encoder: The trained encoder.
        predictor: The masked predictor.
        clips: Clips of the batch.
        tokens: Tokens of a clip, all of which the target sees.
        masks: Of each mask family; the predictor runs once for each set of hidden tokens.
        target: The EMA encoder's or teacher's architecture; None where pixels are predicted.
        image: Whether clips are single frames.
        dense: Whether the context tokens are predicted too.
        recompute: Whether the blocks' activations are computed again in the backward pass.
    """
    seen_once = encoder_forward(target, tokens, image=image).total if target is not None else 0.0
    trained = 0.0
    for context, hidden, targets in masks:
        seen = encoder_forward(encoder, context, image=image)
        predicted = predictor_forward(predictor, encoder.embed_dim, context, hidden, dense=dense)
        trained += seen.trained(recompute=recompute) + targets * predicted.trained(recompute=recompute)
    return clips * (seen_once + trained)


def rollout_flops(
    config: ActionPredictorConfig, width: int, tokens: int, horizon: int, frames: int = 1
) -> float:
    """Count the least operations of one sample of a rollout: each step once, attending to all earlier keys.

    What samples share (the context's frames, the first step's first layer except the action's token) is left out.

    Args:
        config: The predictor.
        width: D, of the features.
        tokens: N, patch tokens per frame; a step has two more for action and state, and none with AdaLN.
        horizon: K, steps of the rollout.
        frames: T, frames of the context; with `context_frames=1` only the last one counts.
    """
    dim, step = config.embed_dim, tokens + (0 if config.condition == "adaln" else 2)
    hidden = round(dim * config.mlp_ratio)
    count = 0.0
    for k in range(horizon):
        keys = step * (1 if config.context_frames == 1 else frames + k)
        # A block's products: queries, keys and values, the way back, the MLP; and attention.
        mixing, rest = (
            2.0 * step * 3 * dim**2 + 4.0 * step * keys * dim,
            2.0 * step * (dim**2 + 2 * dim * hidden),
        )
        shared = mixing if k == 0 and config.condition == "tokens" else 0.0
        embedding = 0.0 if k == 0 else 2.0 * tokens * width * dim
        count += config.depth * (mixing + rest) - shared + embedding + 2.0 * tokens * dim * width
    return count
