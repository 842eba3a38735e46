"""What the tensors of a Meta file tell of their architectures, from names and shapes alone.

What no shape tells (heads, the clip of a model with rotary positions) is that of the known sizes; words of the caller
count instead.
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
from vjepa_world.pretrained.meta.kinds import PATCHES, State, count, needed
from vjepa_world.pretrained.words import Words, check_words

Config = TypeVar("Config", EncoderConfig, MaskedPredictorConfig, ActionPredictorConfig, ProbeConfig)

#: The training clip where no tensor tells it: rows and columns, tubelets; what V-JEPA 2.1 stretches rows to.
GRID, GRID_2_1, TUBELETS, SPAN_2_1 = 16, 24, 32, 16

#: Frames of V-JEPA 1's training clips.
V_JEPA_1_FRAMES = 16

#: Words for which no default stands where the tensors do not tell them.
NEVER_ASSUMED = ("num_heads", "levels", "num_frames", "image_size")


def encoder_words(state: State, positions: str) -> dict[str, Any]:
    """Return what the tensors tell of an encoder; unknown heads and levels, and the clip of a table, are left out.

    Args:
        state: Its tensors.
        positions: From :func:`positions_of`.

    Raises:
        CheckpointError: If the tensors are not an encoder's.
    """
    kernel = needed(state, PATCHES, "encoder")
    if kernel.ndim not in (4, 5):
        raise CheckpointError(
            f"the encoder's {PATCHES} is {list(kernel.shape)}; expected [width, 3, (tubelet,) patch, patch]."
        )
    image, width, patch = kernel.ndim == 4, kernel.shape[0], kernel.shape[-1]
    tubelet, depth = 1 if image else kernel.shape[2], count(state, "blocks")
    found: dict[str, Any] = {
        "patch_size": patch,
        "tubelet_size": tubelet,
        "embed_dim": width,
        "depth": depth,
        "mlp_ratio": needed(state, "blocks.0.mlp.fc1.weight", "encoder", 2).shape[0] / width,
        "positions": positions,
        "image_embed": "img_mod_embed" in state,
    }
    heads = heads_of_width(width, sincos=positions == "sincos")
    found |= {} if heads is None else {"num_heads": heads}
    norms = count(state, "norms_block")
    levels = tuple(range(depth)) if norms == depth else LEVELS.get(depth, ())
    found |= {"rope_span": SPAN_2_1} if norms else {"levels": ()}
    found |= {"levels": levels} if norms and len(levels) == norms else {}
    if positions == "sincos":
        return found | table_clip(state, found, 1 if image else V_JEPA_1_FRAMES)
    grid = GRID_2_1 if norms else GRID
    return found | {"image_size": grid * patch, "num_frames": 1 if image else TUBELETS * tubelet}


def table_clip(state: State, found: Words, frames: int) -> dict[str, int]:
    """Return the clip of `frames` square frames that an encoder's position table is of, or nothing if it is of none."""
    tokens, steps = needed(state, "pos_embed", "encoder", 3).shape[1], max(frames // found["tubelet_size"], 1)
    side = math.isqrt(tokens // steps)
    fits = side > 0 and steps * side**2 == tokens
    return {"num_frames": frames, "image_size": side * found["patch_size"]} if fits else {}


def encoder_config(state: State, positions: str, words: Words) -> EncoderConfig:
    """Return an encoder's architecture.

    Raises:
        CheckpointError: If the tensors are not an encoder's, or do not tell all and `words` do not either.
        ConfigError: If a word is unknown or no architecture comes of it.
    """
    found = encoder_words(state, positions)
    if positions == "sincos" and ("num_frames" in words or "image_size" in words):
        size, frames = (
            whole_number(words.get(word, 0), word, most=2**20, error=ConfigError)
            for word in ("image_size", "num_frames")
        )
        side = max(size // found["patch_size"], 1)
        steps = state["pos_embed"].shape[1] // side**2
        found |= table_clip(state, found, frames or steps * found["tubelet_size"])
    missing = _first_missing(found, words)
    if missing is not None:
        raise CheckpointError(f"{_untold_reason(missing, state, found)}; give config={{'{missing}': ...}}.")
    return configured(EncoderConfig, found, words)


def _first_missing(found: Words, words: Words) -> str | None:
    return next((word for word in NEVER_ASSUMED if word not in {**found, **words}), None)


def _untold_reason(word: str, state: State, found: Words) -> str:
    """Return why an encoder's word is not known."""
    if word == "num_heads":
        widths = ", ".join(str(known.embed_dim) for known in ARCHITECTURES)
        return (
            f"the encoder is {found['embed_dim']} wide with {found['depth']} blocks, which is not a known width "
            f"({widths}; the nearest architecture is {nearest_architecture(found['embed_dim'], found['depth'])}), and "
            "no tensor tells its heads"
        )
    if word == "levels":
        return (
            f"the encoder has {count(state, 'norms_block')} level norms and {found['depth']} blocks, which is no known "
            f"depth ({', '.join(map(str, LEVELS))}), and no tensor tells the blocks they follow, counted from 0"
        )
    return (
        f"the encoder's pos_embed holds {state['pos_embed'].shape[1]} positions, which {V_JEPA_1_FRAMES} square frames "
        f"in tubelets of {found['tubelet_size']} do not give"
    )


def masked_predictor_words(state: State, encoder_dim: int, positions: str) -> dict[str, Any]:
    """Return what the tensors tell of a masked predictor; unknown heads are left out.

    Raises:
        CheckpointError: If the tensors are not a masked predictor's.
    """
    width = needed(state, "mask_tokens.0", "predictor", 3).shape[-1]
    name = "predictor_embed.0.weight"
    levels = needed(state, name, "predictor", 2).shape[1] // encoder_dim if name in state else 1
    output = needed(state, "predictor_proj.weight", "predictor", 2).shape[0]
    return _predictor_words(state, width, MASKED_PREDICTOR_HEADS) | {
        "positions": positions,
        "num_mask_tokens": count(state, "mask_tokens"),
        "input_levels": levels,
        "output_dim": 0 if output == levels * encoder_dim else output,
        "context_output": "predictor_proj_context.weight" in state,
        "image_embed": "img_mod_embed" in state,
        "rope_span": SPAN_2_1 if "img_mod_embed" in state else 0,
    }


def action_predictor_words(state: State) -> dict[str, Any]:
    """Return what the tensors tell of an action-conditioned predictor; unknown heads are left out.

    Raises:
        CheckpointError: If the tensors are not such a predictor's.
    """
    width = needed(state, "action_encoder.weight", "predictor", 2).shape[0]
    name = "extrinsics_encoder.weight"
    extrinsics = needed(state, name, "predictor", 2) if name in state else None
    return _predictor_words(state, width, ACTION_PREDICTOR_HEADS) | {
        "positions": "tiled",
        "residual": False,
        "context_frames": 0,
        "extrinsics_dim": 0 if extrinsics is None else extrinsics.shape[1],
        "normalize": True,
        "wrap_angles": True,
    }


def _predictor_words(state: State, width: int, heads: Mapping[int, int]) -> dict[str, Any]:
    hidden = needed(state, "predictor_blocks.0.mlp.fc1.weight", "predictor", 2).shape[0]
    found = {"embed_dim": width, "depth": count(state, "predictor_blocks"), "mlp_ratio": hidden / width}
    return found | ({"num_heads": heads[width]} if width in heads else {})


def world_model_config(
    encoder: EncoderConfig, predictor: ActionPredictorConfig, robot: EmbodimentConfig
) -> WorldModelConfig:
    """Return the architecture of V-JEPA 2-AC: an encoder and a predictor on all of its tokens."""
    return WorldModelConfig(
        encoder=encoder,
        predictor=predictor,
        latents=LatentsConfig(kind="none"),
        embodiments=(robot,),
        inverse=InverseConfig(horizon=0),
        decoder=DecoderConfig(image_size=0),
    )


def probe_words(state: State) -> dict[str, Any]:
    """Return what the tensors tell of an attentive probe.

    Raises:
        CheckpointError: If the tensors are those of another probe.
    """
    query = needed(state, "pooler.query_tokens", "probe", 3)
    if query.shape[1] != 1 or "linear.weight" not in state:
        raise CheckpointError(
            f"the probe has {query.shape[1]} queries and the outputs {_outputs(state)}; only probes of one query and "
            "one 'linear' are read, action anticipation's are not."
        )
    width = query.shape[-1]
    hidden = needed(state, "pooler.cross_attention_block.mlp.fc1.weight", "probe", 2).shape[0]
    return {
        "embed_dim": width,
        "num_heads": PROBE_HEADS,
        "depth": count(state, "pooler.blocks") + 1,
        "mlp_ratio": hidden / width,
        "num_outputs": needed(state, "linear.weight", "probe", 2).shape[0],
    }


def _outputs(state: State) -> str:
    found = {name.partition(".")[0] for name in state} - {"pooler"}
    return ", ".join(sorted(found)) or "none"


def configured(schema: type[Config], found: Words, words: Words) -> Config:
    """Return an architecture of what the tensors tell and of the words that count instead.

    Raises:
        ConfigError: If a word is unknown or no architecture comes of it.
    """
    check_words(schema, words)
    return schema(**{**found, **words})


def untold(config: Config, found: Words) -> dict[str, Any]:
    """Return the words of an architecture that its tensors do not tell."""
    untold_words = {}
    for field in fields(config):
        value = getattr(config, field.name)
        assumed = None if field.name in NEVER_ASSUMED else field.default
        if value != found.get(field.name, assumed):
            untold_words[field.name] = value
    return untold_words
