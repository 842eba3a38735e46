"""Writes our typed configurations as transformers' JSON files, if transformers supports the architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from vjepa_world.errors import CheckpointError
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig, ProbeConfig
from vjepa_world.models.transformer import NORM_EPS
from vjepa_world.ops.pixels import IMAGENET_MEAN, IMAGENET_STD
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.huggingface.config import (
    FIXED,
    POOLER_MLP_RATIO,
    Architecture,
    placeholder_labels,
)


def is_image_encoder(encoder: EncoderConfig) -> bool:
    """Return whether this is I-JEPA's architecture: sine-cosine positions, single images."""
    return encoder.positions == "sincos" and (encoder.num_frames, encoder.tubelet_size) == (1, 1)


def check_writable(checkpoint: Checkpoint) -> Architecture:
    """Return the checkpoint's architecture, if transformers supports it.

    Raises:
        CheckpointError: If not; the message gives the reasons and an alternative.
    """
    problems = obstacles(checkpoint)
    if checkpoint.encoder is None or problems:
        raise CheckpointError(
            f"transformers cannot hold {checkpoint.source} ({checkpoint.name}): {'; '.join(problems)}. "
            "The native format can hold it (convert --to native)."
        )
    return Architecture(checkpoint.encoder, checkpoint.masked_predictor, checkpoint.probe)


def obstacles(checkpoint: Checkpoint) -> list[str]:
    """Return the properties of a checkpoint that transformers cannot represent."""
    if checkpoint.encoder is None:
        return [
            "it has no encoder, and a transformers model begins with one; convert the classifier it is of"
        ]
    if checkpoint.world_model is not None:
        return [
            "it has no action-conditioned predictor; the encoder alone can be written: "
            "save_pretrained(load_encoder(SOURCE), FOLDER)"
        ]
    problems = _encoder_obstacles(checkpoint.encoder)
    if checkpoint.masked_predictor is not None:
        problems += _predictor_obstacles(checkpoint.masked_predictor, checkpoint.encoder)
    if checkpoint.probe is not None:
        problems += _probe_obstacles(checkpoint.probe, checkpoint.encoder)
        named, outputs = len(checkpoint.details.get("labels", ())), checkpoint.probe.num_outputs
        if named not in (0, outputs):
            problems.append(
                f"its classifier names each of its {outputs} outputs, and the checkpoint names {named}"
            )
    return problems


def _encoder_obstacles(encoder: EncoderConfig) -> list[str]:
    found = {
        "it has no rotary positions of the interleaved convention (V-JEPA 2.1), only tiled": (
            encoder.positions == "interleaved"
        ),
        "it has added positions for single images alone (I-JEPA), not for video (V-JEPA 1)": (
            encoder.positions == "sincos" and not is_image_encoder(encoder)
        ),
        f"it does not stretch positions (rope_span {encoder.rope_span})": bool(encoder.rope_span),
        "it has no second patch embedding for images (image_embed)": encoder.image_embed,
        f"it has one norm at the end, not one for each of the levels {encoder.levels}": bool(encoder.levels),
    }
    return [problem for problem, stands in found.items() if stands]


def _predictor_obstacles(predictor: MaskedPredictorConfig, encoder: EncoderConfig) -> list[str]:
    found = {
        "its I-JEPA has no predictor": is_image_encoder(encoder),
        "its predictor has no interleaved positions": predictor.positions != "tiled",
        "its predictor reads and writes one level of features": (
            predictor.input_levels != 1 or predictor.output_dim not in (0, encoder.embed_dim)
        ),
        "its predictor does not predict the context": predictor.context_output,
        "its predictor has no modality embeddings": predictor.image_embed,
        f"its predictor does not stretch positions (rope_span {predictor.rope_span})": bool(
            predictor.rope_span
        ),
        f"it has one LayerNorm eps, and the encoder's is {encoder.norm_eps}, the predictor's {NORM_EPS}": (
            encoder.norm_eps != NORM_EPS
        ),
    }
    return [problem for problem, stands in found.items() if stands]


def _probe_obstacles(probe: ProbeConfig, encoder: EncoderConfig) -> list[str]:
    found = {
        "its I-JEPA has another classifier": is_image_encoder(encoder),
        "its classifier is an attentive probe, not a linear one": probe.kind != "attentive",
        f"its classifier has the encoder's heads, {encoder.num_heads}, not {probe.num_heads}": (
            probe.num_heads != encoder.num_heads
        ),
        f"its classifier has the encoder's width, {encoder.embed_dim}, not {probe.embed_dim}": (
            probe.embed_dim != encoder.embed_dim
        ),
        f"its classifier has MLPs of ratio {POOLER_MLP_RATIO}, not {probe.mlp_ratio}": (
            probe.mlp_ratio != POOLER_MLP_RATIO
        ),
        f"it has one LayerNorm eps, and the encoder's is {encoder.norm_eps}, the probe's {probe.norm_eps}": (
            probe.norm_eps != encoder.norm_eps
        ),
    }
    return [problem for problem, stands in found.items() if stands]


def write_config(architecture: Architecture, dtype: str, labels: Sequence[str]) -> dict[str, Any]:
    """Return the content of `config.json`.

    Args:
        architecture: From :func:`check_writable`.
        dtype: The tensors' type as PyTorch names it, such as "float32".
        labels: Names of the classifier's outputs; empty for placeholders.
    """
    encoder, predictor, probe = architecture
    config: dict[str, Any] = {
        "hidden_size": encoder.embed_dim,
        "num_hidden_layers": encoder.depth,
        "num_attention_heads": encoder.num_heads,
        "patch_size": encoder.patch_size,
        "layer_norm_eps": encoder.norm_eps,
        "hidden_act": FIXED["hidden_act"],
        "qkv_bias": FIXED["qkv_bias"],
        "dtype": dtype,
    }
    if is_image_encoder(encoder):
        return config | _written_ijepa(encoder)
    config |= _written_vjepa2(encoder) | _written_predictor(predictor)
    return config if probe is None else config | _written_classifier(probe, labels)


def _written_ijepa(encoder: EncoderConfig) -> dict[str, Any]:
    return {
        "architectures": ["IJepaModel"],
        "model_type": "ijepa",
        "image_size": encoder.image_size,
        "intermediate_size": round(encoder.embed_dim * encoder.mlp_ratio),
        "num_channels": FIXED["num_channels"],
    }


def _written_vjepa2(encoder: EncoderConfig) -> dict[str, Any]:
    return {
        "architectures": ["VJEPA2Model"],
        "model_type": "vjepa2",
        "crop_size": encoder.image_size,
        "frames_per_clip": encoder.num_frames,
        "tubelet_size": encoder.tubelet_size,
        "mlp_ratio": _their_ratio(encoder.mlp_ratio, encoder.embed_dim),
        "in_chans": FIXED["in_chans"],
    }


def _written_predictor(predictor: MaskedPredictorConfig | None) -> dict[str, Any]:
    """Return the predictor's keys. Transformers' model always has a predictor: without one, the smallest possible."""
    if predictor is None:
        words = ("hidden_size", "num_attention_heads", "num_mask_tokens")
        return {"pred_num_hidden_layers": 0} | {f"pred_{word}": 1 for word in words}
    return {
        "pred_num_hidden_layers": predictor.depth,
        "pred_hidden_size": predictor.embed_dim,
        "pred_num_attention_heads": predictor.num_heads,
        "pred_num_mask_tokens": predictor.num_mask_tokens,
        "pred_mlp_ratio": _their_ratio(predictor.mlp_ratio, predictor.embed_dim),
    }


def _written_classifier(probe: ProbeConfig, labels: Sequence[str]) -> dict[str, Any]:
    names = list(labels) or placeholder_labels(probe.num_outputs)
    return {
        "architectures": ["VJEPA2ForVideoClassification"],
        "num_pooler_layers": probe.depth - 1,
        "id2label": {str(number): name for number, name in enumerate(names)},
        "label2id": {name: number for number, name in enumerate(names)},
    }


def write_preprocessor(encoder: EncoderConfig) -> tuple[str, dict[str, Any]]:
    """Return name and content of the file that configures transformers' image or video processor.

    ImageNet's mean and standard deviation, as in :func:`vjepa_world.ops.pixels.normalize_video`; the resizing is that
    of transformers for the family.
    """
    size = encoder.image_size
    side = {"height": size, "width": size}
    shared = {
        "do_resize": True,
        "resample": 2,  # bilinear
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(IMAGENET_MEAN),
        "image_std": list(IMAGENET_STD),
    }
    if is_image_encoder(encoder):
        return "preprocessor_config.json", {
            "image_processor_type": "ViTImageProcessor",
            "size": side,
            **shared,
        }
    return "video_preprocessor_config.json", {
        "video_processor_type": "VJEPA2VideoProcessor",
        "size": {"shortest_edge": int(size * 256 / 224)},
        "do_center_crop": True,
        "crop_size": side,
        **shared,
    }


def _their_ratio(ratio: float, dim: int) -> float:
    hidden = round(dim * ratio)
    if int(dim * ratio) != hidden:
        ratio = hidden / dim
    while int(dim * ratio) < hidden:
        ratio = math.nextafter(ratio, math.inf)
    return ratio
