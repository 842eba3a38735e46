"""transformers' `config.json` to our typed configurations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.validation import MOST, short
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig, ProbeConfig

Values = Mapping[str, Any]

#: The `model_type` of each family, with the words of its config that count here and their values when left out.
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
#: Words that have one value here.
FIXED = {"hidden_act": "gelu", "qkv_bias": True, "in_chans": 3, "num_channels": 3}

#: The hidden width of the MLPs of transformers' attentive pooler over the width.
POOLER_MLP_RATIO = 4.0


class Architecture(NamedTuple):
    """The parts that a folder has."""

    encoder: EncoderConfig
    masked_predictor: MaskedPredictorConfig | None = None
    probe: ProbeConfig | None = None


def complete(values: Values, path: Path) -> dict[str, Any]:
    """Return the words of a `config.json` that count, the missing ones filled in, sizes as numbers.

    Raises:
        CheckpointError: If a value is of the wrong type, or one that our models are not built for.
    """
    for word, allowed in FIXED.items():
        if values.get(word, allowed) != allowed:
            raise CheckpointError(
                f"{path} has {word} {short(values[word])}, but these models are built with {allowed!r} alone."
            )
    words: dict[str, Any] = {}
    for word, default in MODEL_TYPES[values["model_type"]].items():
        value = values.get(word, default)
        if isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        kinds = (int, float) if isinstance(default, float) else (int,)
        if not isinstance(value, kinds) or isinstance(value, bool) or not 0 <= value <= MOST:
            raise CheckpointError(
                f"{path} has {word} {short(value)}; expected a number (one side: images and patches are square)."
            )
        words[word] = value
    return words


def read_architecture(
    kind: str, words: Values, path: Path, *, predictor: bool, outputs: int | None
) -> Architecture:
    """Return the typed configurations.

    Args:
        kind: The `model_type`.
        words: From :func:`complete`.
        path: Of the file, for messages.
        predictor: Whether the folder has a masked predictor.
        outputs: Of the folder's classifier; None without one.

    Raises:
        CheckpointError: If no architecture comes of it.
    """
    try:
        if kind == "ijepa":
            return Architecture(_ijepa_encoder(words))
        return Architecture(
            _vjepa2_encoder(words),
            _predictor(words) if predictor else None,
            _probe(words, outputs) if outputs is not None else None,
        )
    except ConfigError as error:
        raise CheckpointError(f"{path} describes no architecture that can be built: {error}") from error


def _vjepa2_encoder(words: Values) -> EncoderConfig:
    return EncoderConfig(
        image_size=words["crop_size"],
        patch_size=words["patch_size"],
        num_frames=words["frames_per_clip"],
        tubelet_size=words["tubelet_size"],
        embed_dim=words["hidden_size"],
        depth=words["num_hidden_layers"],
        num_heads=words["num_attention_heads"],
        mlp_ratio=_our_ratio(words["mlp_ratio"], words["hidden_size"]),
        positions="tiled",
        norm_eps=words["layer_norm_eps"],
    )


def _predictor(words: Values) -> MaskedPredictorConfig:
    return MaskedPredictorConfig(
        embed_dim=words["pred_hidden_size"],
        depth=words["pred_num_hidden_layers"],
        num_heads=words["pred_num_attention_heads"],
        mlp_ratio=_our_ratio(words["pred_mlp_ratio"], words["pred_hidden_size"]),
        positions="tiled",
        num_mask_tokens=words["pred_num_mask_tokens"],
    )


def _probe(words: Values, outputs: int) -> ProbeConfig:
    return ProbeConfig(
        kind="attentive",
        embed_dim=words["hidden_size"],
        num_heads=words["num_attention_heads"],
        depth=words["num_pooler_layers"] + 1,
        mlp_ratio=POOLER_MLP_RATIO,
        num_outputs=outputs,
        norm_eps=words["layer_norm_eps"],
    )


def _ijepa_encoder(words: Values) -> EncoderConfig:
    return EncoderConfig(
        image_size=words["image_size"],
        patch_size=words["patch_size"],
        num_frames=1,
        tubelet_size=1,
        embed_dim=words["hidden_size"],
        depth=words["num_hidden_layers"],
        num_heads=words["num_attention_heads"],
        mlp_ratio=words["intermediate_size"] / words["hidden_size"] if words["hidden_size"] else 0.0,
        positions="sincos",
        norm_eps=words["layer_norm_eps"],
    )


def _our_ratio(ratio: float, dim: int) -> float:
    """Transformers cuts the hidden width down to an integer, we round it: return the ratio that gives us theirs."""
    hidden = int(dim * ratio)
    return ratio if round(dim * ratio) == hidden else hidden / dim


def read_labels(values: Values, outputs: int, path: Path) -> list[str]:
    """Return the names of a classifier's outputs; none where transformers has made them up.

    Raises:
        CheckpointError: If they are not one for each output.
    """
    names = values.get("id2label")
    if names is None:
        return []
    try:
        labels = [str(names[key]) for key in sorted(names, key=int)]
        numbers = sorted(map(int, names))
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} has an id2label that maps no numbers to names ({error!r}).") from error
    if numbers != list(range(outputs)):
        raise CheckpointError(
            f"{path} names {len(numbers)} labels, but the classifier has {outputs} outputs; "
            "the folder's files belong to different models, download it again."
        )
    return [] if labels == made_up_labels(outputs) else labels


def made_up_labels(outputs: int) -> list[str]:
    """Return the names that transformers gives to outputs without one."""
    return [f"LABEL_{number}" for number in range(outputs)]
