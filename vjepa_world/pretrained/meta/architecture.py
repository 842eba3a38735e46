"""Infers the architecture of a Meta file from the names and shapes of its tensors.

What cannot be inferred (attention heads, the clip size of a model with rotary positions) is taken from the released
model of that size. Overrides given by the caller take precedence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.validation import whole_number
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
    MaskedPredictorConfig,
    ProbeConfig,
    WorldModelConfig,
)
from vjepa_world.pretrained.architectures import (
    ACTION_PREDICTOR_HEADS,
    ARCHITECTURES,
    LEVELS,
    MASKED_PREDICTOR_HEADS,
    PROBE_HEADS,
    heads_of_width,
    nearest_architecture,
)
from vjepa_world.pretrained.meta.kinds import PATCHES, State, count, required
from vjepa_world.pretrained.overrides import Overrides, check_overrides

Config = TypeVar("Config", EncoderConfig, MaskedPredictorConfig, ActionPredictorConfig, ProbeConfig)

#: The training clip if it cannot be inferred: rows and columns, tubelets; the span that V-JEPA 2.1 scales rows to.
GRID, GRID_2_1, TUBELETS, SPAN_2_1 = 16, 24, 32, 16

#: Frames of V-JEPA 1's training clips.
V_JEPA_1_FRAMES = 16

#: Fields that have no default: they must be inferred or given.
NO_DEFAULT = ("num_heads", "levels", "num_frames", "image_size")


def infer_encoder(state: State, positions: str) -> dict[str, Any]:
    """Return the inferred fields of an encoder; unknown heads, levels and clip sizes are left out.

    Args:
        state: The encoder's tensors.
        positions: From :func:`positions_of`.

    Raises:
        CheckpointError: If the tensors are not an encoder's.
    """
    kernel = required(state, PATCHES, "encoder")
    if kernel.ndim not in (4, 5):
        raise CheckpointError(
            f"the encoder's {PATCHES} is {list(kernel.shape)}; expected [width, 3, (tubelet,) patch, patch]."
        )
    image, width, patch = kernel.ndim == 4, kernel.shape[0], kernel.shape[-1]
    tubelet, depth = 1 if image else kernel.shape[2], count(state, "blocks")
    inferred: dict[str, Any] = {
        "patch_size": patch,
        "tubelet_size": tubelet,
        "embed_dim": width,
        "depth": depth,
        "mlp_ratio": required(state, "blocks.0.mlp.fc1.weight", "encoder", 2).shape[0] / width,
        "positions": positions,
        "image_embed": "img_mod_embed" in state,
    }
    heads = heads_of_width(width, sincos=positions == "sincos")
    inferred |= {} if heads is None else {"num_heads": heads}
    norms = count(state, "norms_block")
    levels = tuple(range(depth)) if norms == depth else LEVELS.get(depth, ())
    inferred |= {"rope_span": SPAN_2_1} if norms else {"levels": ()}
    inferred |= {"levels": levels} if norms and len(levels) == norms else {}
    if positions == "sincos":
        return inferred | table_clip(state, inferred, 1 if image else V_JEPA_1_FRAMES)
    grid = GRID_2_1 if norms else GRID
    return inferred | {"image_size": grid * patch, "num_frames": 1 if image else TUBELETS * tubelet}


def table_clip(state: State, inferred: Overrides, frames: int) -> dict[str, int]:
    """Return the clip size of an encoder's position table for `frames` square frames; empty if it does not fit."""
    tokens, steps = (
        required(state, "pos_embed", "encoder", 3).shape[1],
        max(frames // inferred["tubelet_size"], 1),
    )
    side = math.isqrt(tokens // steps)
    fits = side > 0 and steps * side**2 == tokens
    return {"num_frames": frames, "image_size": side * inferred["patch_size"]} if fits else {}


def encoder_config(state: State, positions: str, overrides: Overrides) -> EncoderConfig:
    """Return an encoder's architecture.

    Raises:
        CheckpointError: If the tensors are not an encoder's, or a field can neither be inferred nor is given.
        ConfigError: If an override is unknown, or the resulting architecture is not valid.
    """
    inferred = infer_encoder(state, positions)
    if positions == "sincos" and ("num_frames" in overrides or "image_size" in overrides):
        size, frames = (
            whole_number(overrides.get(name, 0), name, most=2**20, error=ConfigError)
            for name in ("image_size", "num_frames")
        )
        side = max(size // inferred["patch_size"], 1)
        steps = state["pos_embed"].shape[1] // side**2
        inferred |= table_clip(state, inferred, frames or steps * inferred["tubelet_size"])
    missing = _first_missing(inferred, overrides)
    if missing is not None:
        raise CheckpointError(f"{_why_unknown(missing, state, inferred)}; give config={{'{missing}': ...}}.")
    return build_config(EncoderConfig, inferred, overrides)


def _first_missing(inferred: Overrides, overrides: Overrides) -> str | None:
    return next((name for name in NO_DEFAULT if name not in {**inferred, **overrides}), None)


def _why_unknown(name: str, state: State, inferred: Overrides) -> str:
    """Return why a field of an encoder cannot be inferred."""
    width, depth = inferred["embed_dim"], inferred["depth"]
    if name == "num_heads":
        widths = ", ".join(str(known.embed_dim) for known in ARCHITECTURES)
        return (
            f"the encoder has width {width} and {depth} blocks, which is not a known width ({widths}; the nearest "
            f"architecture is {nearest_architecture(width, depth)}), and its heads cannot be inferred from the tensors"
        )
    if name == "levels":
        return (
            f"the encoder has {count(state, 'norms_block')} level norms and {depth} blocks, which is not a known "
            f"depth ({', '.join(map(str, LEVELS))}), and the blocks that they follow (from 0) cannot be inferred"
        )
    return (
        f"the encoder's pos_embed holds {state['pos_embed'].shape[1]} positions, which {V_JEPA_1_FRAMES} square frames "
        f"in tubelets of {inferred['tubelet_size']} do not give"
    )


def infer_masked_predictor(state: State, encoder_dim: int, positions: str) -> dict[str, Any]:
    """Return the inferred fields of a masked predictor; unknown heads are left out.

    Raises:
        CheckpointError: If the tensors are not a masked predictor's.
    """
    width = required(state, "mask_tokens.0", "predictor", 3).shape[-1]
    name = "predictor_embed.0.weight"
    levels = required(state, name, "predictor", 2).shape[1] // encoder_dim if name in state else 1
    output = required(state, "predictor_proj.weight", "predictor", 2).shape[0]
    return _infer_predictor(state, width, MASKED_PREDICTOR_HEADS) | {
        "positions": positions,
        "num_mask_tokens": count(state, "mask_tokens"),
        "input_levels": levels,
        "output_dim": 0 if output == levels * encoder_dim else output,
        "context_output": "predictor_proj_context.weight" in state,
        "image_embed": "img_mod_embed" in state,
        "rope_span": SPAN_2_1 if "img_mod_embed" in state else 0,
    }


def infer_action_predictor(state: State) -> dict[str, Any]:
    """Return the inferred fields of an action-conditioned predictor; unknown heads are left out.

    Raises:
        CheckpointError: If the tensors are not such a predictor's.
    """
    width = required(state, "action_encoder.weight", "predictor", 2).shape[0]
    name = "extrinsics_encoder.weight"
    extrinsics = required(state, name, "predictor", 2) if name in state else None
    return _infer_predictor(state, width, ACTION_PREDICTOR_HEADS) | {
        "positions": "tiled",
        "residual": False,
        "context_frames": 0,
        "extrinsics_dim": 0 if extrinsics is None else extrinsics.shape[1],
        "normalize": True,
        "wrap_angles": True,
    }


def _infer_predictor(state: State, width: int, heads: Mapping[int, int]) -> dict[str, Any]:
    hidden = required(state, "predictor_blocks.0.mlp.fc1.weight", "predictor", 2).shape[0]
    inferred = {"embed_dim": width, "depth": count(state, "predictor_blocks"), "mlp_ratio": hidden / width}
    return inferred | ({"num_heads": heads[width]} if width in heads else {})


def world_model_config(
    encoder: EncoderConfig, predictor: ActionPredictorConfig, robot: EmbodimentConfig
) -> WorldModelConfig:
    """Return the architecture of V-JEPA 2-AC: an encoder and a predictor that uses all of its tokens."""
    return WorldModelConfig(
        encoder=encoder,
        predictor=predictor,
        latents=LatentsConfig(kind="none"),
        embodiments=(robot,),
        inverse=InverseConfig(horizon=0),
        decoder=DecoderConfig(image_size=0),
    )


def infer_probe(state: State) -> dict[str, Any]:
    """Return the inferred fields of an attentive probe.

    Raises:
        CheckpointError: If the tensors belong to another kind of probe.
    """
    query = required(state, "pooler.query_tokens", "probe", 3)
    if query.shape[1] != 1 or "linear.weight" not in state:
        raise CheckpointError(
            f"the probe has {query.shape[1]} queries and the outputs {_outputs(state)}; only probes with one query and "
            "one 'linear' layer are supported, action anticipation is not."
        )
    width = query.shape[-1]
    hidden = required(state, "pooler.cross_attention_block.mlp.fc1.weight", "probe", 2).shape[0]
    return {
        "embed_dim": width,
        "num_heads": PROBE_HEADS,
        "depth": count(state, "pooler.blocks") + 1,
        "mlp_ratio": hidden / width,
        "num_outputs": required(state, "linear.weight", "probe", 2).shape[0],
    }


def _outputs(state: State) -> str:
    inferred = {name.partition(".")[0] for name in state} - {"pooler"}
    return ", ".join(sorted(inferred)) or "none"


def build_config(schema: type[Config], inferred: Overrides, overrides: Overrides) -> Config:
    """Return the architecture with the inferred fields and the overrides, which take precedence.

    Raises:
        ConfigError: If an override is unknown, or the resulting architecture is not valid.
    """
    check_overrides(schema, overrides)
    return schema(**{**inferred, **overrides})


def not_inferable(config: Config, inferred: Overrides) -> dict[str, Any]:
    """Return the fields of an architecture that cannot be inferred from its tensors."""
    unknown = {}
    for field in fields(config):
        value = getattr(config, field.name)
        assumed = None if field.name in NO_DEFAULT else field.default
        if value != inferred.get(field.name, assumed):
            unknown[field.name] = value
    return unknown
