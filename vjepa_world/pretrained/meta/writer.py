"""Writes a checkpoint of any format as a Meta file, with the entries, prefixes and names of Meta's code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vjepa_world.errors import CheckpointError
from vjepa_world.files.atomic import atomic_file
from vjepa_world.models.config import (
    EmbodimentConfig,
    EncoderConfig,
    MaskedPredictorConfig,
    WorldModelConfig,
)
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.meta.architecture import (
    SPAN_2_1,
    infer_action_predictor,
    infer_encoder,
    infer_masked_predictor,
    infer_probe,
    not_inferable,
)
from vjepa_world.pretrained.meta.key_maps import default_bounds, remove_embodiment
from vjepa_world.pretrained.meta.kinds import OWN_ENTRY, PATCHES, State, kind_of, positions_of


def write_meta(checkpoint: Checkpoint, path: Path) -> None:
    """Write a file that Meta's code loads. It is written atomically, and every tensor is copied bit by bit.

    The encoder appears under both names that Meta's code reads, `encoder` and `target_encoder` (`ema_encoder` of a
    distilled V-JEPA 2.1), and is stored once. Optimizer state is not written: Meta's code can evaluate such a file, but
    not resume from it. What cannot be inferred from the tensors (heads, clip size, LayerNorm eps) goes into an entry
    that Meta's code ignores, together with labels, the robot's name and the action bounds.

    A predictor's standardisation of actions and states, which Meta's predictor does not have, is folded into its linear
    maps: exact except for rounding. Unused weights for extrinsics, which Meta's predictor always has, are zeros.

    Raises:
        CheckpointError: If Meta's code does not support the architecture, or the file cannot be written.
    """
    for part, reason in _obstacles(checkpoint):
        raise CheckpointError(
            f"{checkpoint.source} cannot be written as a Meta file: its {part} {reason}; keep it in the native format."
        )
    content: dict[str, Any] = {}
    notes: dict[str, Any] = {}
    if checkpoint.encoder is not None:
        _add_training(checkpoint, checkpoint.encoder, content, notes)
    if checkpoint.probe is not None:
        state = checkpoint.tensors["probe"]
        content["classifiers"] = [_wrapped(state, "module.")]
        notes["probe"] = not_inferable(checkpoint.probe, infer_probe(state))
    notes["labels"] = checkpoint.details.get("labels")
    content |= {"epoch": checkpoint.details.get("epoch", 0)}
    notes = {key: value for key, value in notes.items() if value}
    _save(content | ({OWN_ENTRY: notes} if notes else {}), Path(path))


def _add_training(
    checkpoint: Checkpoint, config: EncoderConfig, content: dict[str, Any], notes: dict[str, Any]
) -> None:
    """Add the encoder, the predictor, and the fields that cannot be inferred from their tensors."""
    state = dict(checkpoint.tensors["encoder"])
    if config.num_frames == 1:  # Meta's image models have a two-dimensional kernel
        state[PATCHES] = state[PATCHES].squeeze(2)
    predictor, notes_of_predictor, bounds = _predictor(checkpoint, config)
    positions = positions_of(state, predictor, {})
    kind = kind_of(state, predictor, config.positions)
    notes["encoder"] = not_inferable(config, infer_encoder(state, config.positions))
    if positions != config.positions:
        notes["encoder"]["positions"] = config.positions
    wrapped = _wrapped(state, kind.prefix)
    distilled = checkpoint.masked_predictor is not None and checkpoint.masked_predictor.input_levels == 1
    distilled = distilled or checkpoint.details.get("weights") == "ema_encoder"
    averaged = "ema_encoder" if config.levels and distilled else "target_encoder"
    content |= {"encoder": wrapped, averaged: wrapped}
    if predictor:
        content["predictor"] = _wrapped(predictor, kind.prefix)
        notes["predictor"], notes["bounds"] = notes_of_predictor, bounds
    if checkpoint.world_model is not None:
        name = checkpoint.world_model.embodiments[0].name
        notes["embodiment"] = name if name != EmbodimentConfig.name else None


def _predictor(
    checkpoint: Checkpoint, encoder: EncoderConfig
) -> tuple[State, dict[str, Any], dict[str, Tensor]]:
    """Return a predictor's tensors under Meta's names, its fields that cannot be inferred, and its action bounds."""
    if checkpoint.world_model is not None:
        config, robot = checkpoint.world_model.predictor, checkpoint.world_model.embodiments[0]
        state, bounds = remove_embodiment(checkpoint.tensors["predictor"], robot.name)
        free = default_bounds(robot.action_dim)
        if all(torch.equal(bounds[name].float(), free[name]) for name in free):
            bounds = {}
        if not config.extrinsics_dim:
            weight = state["action_encoder.weight"]
            state["extrinsics_encoder.weight"] = torch.zeros_like(weight[:, 1:])
            state["extrinsics_encoder.bias"] = torch.zeros_like(weight[:, 0])
        own = {name: _own_storage(tensor) for name, tensor in bounds.items()}
        return state, not_inferable(config, infer_action_predictor(state)), own
    if checkpoint.masked_predictor is not None:
        state = checkpoint.tensors["masked_predictor"]
        found = infer_masked_predictor(state, encoder.embed_dim, encoder.positions)
        return state, not_inferable(checkpoint.masked_predictor, found), {}
    return {}, {}, {}


def _obstacles(checkpoint: Checkpoint) -> list[tuple[str, str]]:
    """Return the properties of a checkpoint that Meta's format cannot represent, by part."""
    if checkpoint.encoder is None and checkpoint.probe is None:
        return [("content", "is neither an encoder nor a probe")]
    found = []
    if checkpoint.world_model is not None:
        found += [("world model", reason) for reason in _world_model_obstacles(checkpoint.world_model)]
    if checkpoint.encoder is not None:
        found += [("encoder", reason) for reason in _encoder_obstacles(checkpoint.encoder)]
        if checkpoint.masked_predictor is not None:
            reasons = _masked_predictor_obstacles(checkpoint.masked_predictor, checkpoint.encoder)
            found += [("masked predictor", reason) for reason in reasons]
    if checkpoint.probe is not None and checkpoint.probe.kind != "attentive":
        found.append(("probe", f"is {checkpoint.probe.kind}, and the reference's are attentive"))
    return found


def _encoder_obstacles(config: EncoderConfig) -> list[str]:
    levels = (config.positions == "interleaved", config.image_embed, bool(config.levels))
    found = []
    if any(levels) and not all(levels):
        found.append(
            f"has positions '{config.positions}', image_embed={config.image_embed} and levels={config.levels}, and "
            "interleaved positions, an image embedding and levels come together in V-JEPA 2.1 or not at all"
        )
    if config.rope_span != (SPAN_2_1 if all(levels) else 0):
        found.append(f"has rope_span {config.rope_span}: V-JEPA 2.1's is {SPAN_2_1}, the others have none")
    return found


def _masked_predictor_obstacles(config: MaskedPredictorConfig, encoder: EncoderConfig) -> list[str]:
    found = []
    if config.positions != encoder.positions:
        found.append(f"has positions '{config.positions}', its encoder '{encoder.positions}'")
    plain = config.input_levels == 1 and not (
        config.output_dim or config.context_output or config.image_embed
    )
    if not encoder.levels and not plain:
        found.append("has levels, another output width or an image embedding, which V-JEPA 2.1 alone has")
    if config.rope_span != (SPAN_2_1 if encoder.levels else 0):
        found.append(f"has rope_span {config.rope_span}: V-JEPA 2.1's is {SPAN_2_1}, the others have none")
    if encoder.levels and not config.image_embed:
        found.append("has no modality embeddings, and V-JEPA 2.1's does")
    return found


def _world_model_obstacles(config: WorldModelConfig) -> list[str]:
    predictor, robot = config.predictor, config.embodiments[0]
    names = ", ".join(embodiment.name for embodiment in config.embodiments)
    checks = (
        (config.encoder_kind != "vjepa", f"has the encoder '{config.encoder_kind}', which holds no weights"),
        (
            config.latents.kind != "none",
            f"has latents of kind {config.latents.kind}, {config.side} x {config.side} tokens per view, and V-JEPA "
            "2-AC takes the encoder's",
        ),
        (config.views != 1, f"sees {config.views} views, and V-JEPA 2-AC one"),
        (len(config.embodiments) != 1, f"knows the embodiments {names}, and V-JEPA 2-AC one"),
        (bool(config.inverse.horizon), "has an inverse model (inverse.horizon), and V-JEPA 2-AC none"),
        (bool(config.decoder.image_size), "has a decoder (decoder.image_size), and V-JEPA 2-AC none"),
        (predictor.residual, "predicts the change of the features (residual), and V-JEPA 2-AC the features"),
        (predictor.context_frames != 0, "sees one frame (context_frames=1), and V-JEPA 2-AC all before"),
        (
            not predictor.normalize,
            "predicts features that are not LayerNormed, and V-JEPA 2-AC's are (normalize)",
        ),
        (predictor.positions != "tiled", f"has positions '{predictor.positions}', V-JEPA 2-AC 'tiled'"),
        (
            predictor.condition != "tokens",
            f"has condition '{predictor.condition}', and V-JEPA 2-AC takes actions and states as tokens",
        ),
        (predictor.predict_state, "predicts states (predict_state), and V-JEPA 2-AC none"),
        (
            robot.state_dim != robot.action_dim,
            f"has states of size {robot.state_dim} and actions of {robot.action_dim}, V-JEPA 2-AC's are equal",
        ),
        (
            predictor.extrinsics_dim not in (0, robot.action_dim - 1),
            f"has extrinsics of size {predictor.extrinsics_dim}, V-JEPA 2-AC's are one less than an action's",
        ),
    )
    return [reason for fault, reason in checks if fault]


def _wrapped(state: State, prefix: str) -> State:
    return {prefix + name: _own_storage(tensor) for name, tensor in state.items()}


def _own_storage(tensor: Tensor) -> Tensor:
    """Return the tensor with a storage of exactly its own size, without copying it.

    `torch.save` writes a tensor's complete storage, and the storage of a memory-mapped tensor may be the whole file.
    """
    tensor = tensor.detach().cpu().contiguous()
    storage, size = tensor.untyped_storage(), tensor.numel() * tensor.element_size()
    if storage.nbytes() == size:
        return tensor
    begin = tensor.storage_offset() * tensor.element_size()
    return torch.empty(0, dtype=tensor.dtype).set_(
        storage[begin : begin + size], 0, tensor.shape, tensor.stride()
    )


def _save(content: dict[str, Any], path: Path) -> None:
    try:
        with atomic_file(path) as temporary:
            torch.save(content, temporary)
            with temporary.open("rb") as stream:  # the new name must not reach the disk before the content
                os.fsync(stream.fileno())
    except (OSError, RuntimeError) as error:
        raise CheckpointError(
            f"could not write {path}: {error}. Free some disk space or choose another path; no partial file was "
            "left behind."
        ) from error
