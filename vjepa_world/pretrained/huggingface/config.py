"""Reads transformers' `config.json` into our typed configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.validation import MOST, short
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig, ProbeConfig

Values = Mapping[str, Any]

#: The `model_type` of each family, with the keys that are used here and their defaults.
MODEL_TYPES: dict[str, dict[str, Any]] = {
    "vjepa2": {
        "patch_size": 16,
        "crop_size": 256,
        "frames_per_clip": 64,
        "tubelet_size": 2,
        "hidden_size": 1024,
        "num_attention_heads": 16,
        "num_hidden_layers": 24,
        "mlp_ratio": 4.0,
        "layer_norm_eps": 1e-6,
        "num_pooler_layers": 3,
        "pred_hidden_size": 384,
        "pred_num_attention_heads": 12,
        "pred_num_hidden_layers": 12,
        "pred_num_mask_tokens": 10,
        "pred_mlp_ratio": 4.0,
    },
    "ijepa": {
        "patch_size": 16,
        "image_size": 224,
        "hidden_size": 768,
        "num_attention_heads": 12,
        "num_hidden_layers": 12,
        "intermediate_size": 3072,
        "layer_norm_eps": 1e-12,
    },
}
#: Keys that must have this value.
FIXED = {"hidden_act": "gelu", "qkv_bias": True, "in_chans": 3, "num_channels": 3}

#: MLP ratio of transformers' attentive pooler.
POOLER_MLP_RATIO = 4.0


class Architecture(NamedTuple):
    """The parts that a folder has."""

    encoder: EncoderConfig
    masked_predictor: MaskedPredictorConfig | None = None
    probe: ProbeConfig | None = None


def complete(values: Values, path: Path) -> dict[str, Any]:
    """Return the used keys of a `config.json`, with defaults for missing ones and square sizes as one number.

    Raises:
        CheckpointError: If a value has the wrong type or is not supported.
    """
    for key, allowed in FIXED.items():
        if values.get(key, allowed) != allowed:
            raise CheckpointError(
                f"{path} has {key} {short(values[key])}, but only {allowed!r} is supported."
            )
    complete_values: dict[str, Any] = {}
    for key, default in MODEL_TYPES[values["model_type"]].items():
        value = values.get(key, default)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        kinds = (int, float) if isinstance(default, float) else (int,)
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value <= MOST:
            raise CheckpointError(
                f"{path} has {key} {short(value)}; expected a number (one side: images and patches are square)."
            )
        complete_values[key] = value
    return complete_values


def read_architecture(
    kind: str, values: Values, path: Path, *, predictor: bool, outputs: int | None
) -> Architecture:
    """Return the typed configurations.

    Args:
        kind: The `model_type`.
        values: From :func:`complete`.
        path: The file, for messages.
        predictor: Whether the folder has a masked predictor.
        outputs: Number of outputs of the folder's classifier; None without one.

    Raises:
        CheckpointError: If the architecture is not valid.
    """
    try:
        if kind == "ijepa":
            return Architecture(_ijepa_encoder(values))
        return Architecture(
            _vjepa2_encoder(values),
            _predictor(values) if predictor else None,
            _probe(values, outputs) if outputs is not None else None,
        )
    except ConfigError as error:
        raise CheckpointError(f"{path} describes an architecture that is not valid: {error}") from error


def _vjepa2_encoder(values: Values) -> EncoderConfig:
    return EncoderConfig(
        image_size=values["crop_size"],
        patch_size=values["patch_size"],
        num_frames=values["frames_per_clip"],
        tubelet_size=values["tubelet_size"],
        embed_dim=values["hidden_size"],
        depth=values["num_hidden_layers"],
        num_heads=values["num_attention_heads"],
        mlp_ratio=_our_ratio(values["mlp_ratio"], values["hidden_size"]),
        positions="tiled",
        norm_eps=values["layer_norm_eps"],
    )


def _predictor(values: Values) -> MaskedPredictorConfig:
    return MaskedPredictorConfig(
        embed_dim=values["pred_hidden_size"],
        depth=values["pred_num_hidden_layers"],
        num_heads=values["pred_num_attention_heads"],
        mlp_ratio=_our_ratio(values["pred_mlp_ratio"], values["pred_hidden_size"]),
        positions="tiled",
        num_mask_tokens=values["pred_num_mask_tokens"],
    )


def _probe(values: Values, outputs: int) -> ProbeConfig:
    return ProbeConfig(
        kind="attentive",
        embed_dim=values["hidden_size"],
        num_heads=values["num_attention_heads"],
        depth=values["num_pooler_layers"] + 1,
        mlp_ratio=POOLER_MLP_RATIO,
        num_outputs=outputs,
        norm_eps=values["layer_norm_eps"],
    )


def _ijepa_encoder(values: Values) -> EncoderConfig:
    return EncoderConfig(
        image_size=values["image_size"],
        patch_size=values["patch_size"],
        num_frames=1,
        tubelet_size=1,
        embed_dim=values["hidden_size"],
        depth=values["num_hidden_layers"],
        num_heads=values["num_attention_heads"],
        mlp_ratio=values["intermediate_size"] / values["hidden_size"] if values["hidden_size"] else 0.0,
        positions="sincos",
        norm_eps=values["layer_norm_eps"],
    )


def _our_ratio(ratio: float, dim: int) -> float:
    """Return the MLP ratio whose rounded hidden width equals transformers' truncated one."""
    hidden = int(dim * ratio)
    return ratio if round(dim * ratio) == hidden else hidden / dim


def read_labels(values: Values, outputs: int, path: Path) -> list[str]:
    """Return the names of a classifier's outputs; empty if they are transformers' placeholders.

    Raises:
        CheckpointError: If there is not exactly one name per output.
    """
    names = values.get("id2label")
    if names is None:
        return []
    try:
        labels = [str(names[key]) for key in sorted(names, key=int)]
        numbers = sorted(map(int, names))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} has an id2label that does not map numbers to names ({error!r})."
        ) from error
    if numbers != list(range(outputs)):
        raise CheckpointError(
            f"{path} names {len(numbers)} labels, but the classifier has {outputs} outputs; "
            "the folder's files belong to different models, download it again."
        )
    return [] if labels == placeholder_labels(outputs) else labels


def placeholder_labels(outputs: int) -> list[str]:
    """Return the names that transformers gives to outputs without labels."""
    return [f"LABEL_{number}" for number in range(outputs)]
