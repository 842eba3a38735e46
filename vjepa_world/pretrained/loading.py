"""Loads encoders, predictors and world models from a checkpoint of any format."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import EncoderConfig, WorldModelConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.encoders.registered import RegisteredEncoder, is_registered, register_path
from vjepa_world.models.encoders.user_function import is_path_of_code
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.ops.tensor_checks import check_device, check_format
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.folder import CONFIG
from vjepa_world.pretrained.huggingface.reader import (
    is_foreign,
    is_huggingface,
    read_huggingface,
    resolve_hub,
)
from vjepa_world.pretrained.meta.reader import is_meta, read_meta
from vjepa_world.pretrained.native import PARTS, STRAY, find_checkpoint, read_native
from vjepa_world.pretrained.overrides import Overrides, as_overrides, check_overrides
from vjepa_world.pretrained.shapes import Shape, differences

#: The name that `weights=` may give to the only encoder of a folder.
ONE_ENCODER = "target_encoder"

Model = TypeVar("Model", bound=nn.Module)


def read_checkpoint(
    source: str | Path,
    *,
    weights: str | None = None,
    encoder: Overrides | None = None,
    predictor: Overrides | None = None,
) -> Checkpoint:
    """Read a checkpoint of any format; the format is recognised from the content.

    Args:
        source: A checkpoint or run folder, a Meta `.pt` file, a transformers folder, or a hub id `OWNER/NAME`.
        weights: Which encoder of a Meta file: `encoder`, `target_encoder` or `ema_encoder`; None for the reference
            implementation's choice. Other formats hold one encoder, which may be given as `target_encoder`.
        encoder: Fields of :class:`EncoderConfig` that override the values of the file.
        predictor: The same for the file's predictor.

    Raises:
        CheckpointError: If there is no checkpoint, or it is broken, of an unknown kind or unsafe.
        ConfigError: If an override is unknown, or the resulting architecture is not valid.
    """
    path = Path(source)
    if path.is_file() and is_meta(path):
        return read_meta(path, weights=weights, encoder=encoder, predictor=predictor)
    if weights not in (None, ONE_ENCODER):
        raise CheckpointError(
            f"{source} holds one encoder; weights='{weights}' chooses among those of a Meta file. "
            f"Leave it out, or give '{ONE_ENCODER}'."
        )
    if not path.exists() and is_hub_id(source):
        path = resolve_hub(str(source))
    if path.is_file():
        raise CheckpointError(
            f"{path} is not a PyTorch checkpoint; expected a Meta .pt file, or a checkpoint folder."
        )
    if not (path / CONFIG).is_file():
        path = find_checkpoint(path)
    if is_foreign(path):
        raise CheckpointError(
            f"{path} is a model of transformers that serves as a frozen encoder only: encoder={source} of finetune, "
            "probe and compare, or load_encoder."
        )
    checkpoint = read_huggingface(path) if is_huggingface(path) else read_native(path)
    return _overridden(checkpoint, encoder or {}, predictor or {})


def is_hub_id(source: str | Path) -> bool:
    """Return whether a source looks like a hub id: one slash, and no dot at the start (`./NAME` is a path)."""
    owner, _, name = str(source).partition("/")
    return bool(owner and name) and "/" not in name and not owner.startswith((".", "~")) and owner != "runs"


def _overridden(checkpoint: Checkpoint, encoder: Overrides, predictor: Overrides) -> Checkpoint:
    changes: dict[str, Any] = {}
    if encoder and checkpoint.encoder is not None:
        changes["encoder"] = replaced(checkpoint.encoder, encoder)
    if checkpoint.world_model is not None:
        inner = {"encoder": changes.get("encoder", checkpoint.world_model.encoder)}
        inner["predictor"] = replaced(checkpoint.world_model.predictor, predictor)
        changes["world_model"] = dataclasses.replace(checkpoint.world_model, **inner)
    elif predictor and checkpoint.masked_predictor is not None:
        changes["masked_predictor"] = replaced(checkpoint.masked_predictor, predictor)
    return dataclasses.replace(checkpoint, **changes)


def replaced(config: Any, overrides: Overrides) -> Any:
    """Return `config` with some fields changed.

    Raises:
        ConfigError: If the architecture has no such field.
    """
    check_overrides(type(config), overrides)
    return dataclasses.replace(config, **overrides)


def load_encoder(
    source: str | Path,
    config: EncoderConfig | Overrides | None = None,
    weights: str | None = None,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> VideoEncoder:
    """Load a frozen encoder.

    Args:
        source: As in :func:`read_checkpoint`; of a world model, its encoder is loaded. Or an encoder of another
            architecture: a folder or hub id of transformers with an image or video backbone, the name of a registered
            encoder, or `module:function` (:mod:`vjepa_world.models.encoders.user_function`).
        config: An architecture, or a mapping with some of its fields (`image_size patch_size num_frames tubelet_size
            embed_dim depth num_heads` ...), which override the values of the file. For our encoders only.
        weights: Which encoder of a Meta file; None for the reference implementation's default.
        device: Device of the model.
        dtype: Type of the weights; float32 by default, also if the file holds float16.

    Returns:
        The encoder: `video [B, T, C, H, W] -> [B, N, D]`.

    Raises:
        CheckpointError: If there is none, it is broken, or it does not fit its description.
        ConfigError: If `config` has an unknown field.
    """
    foreign = _foreign_encoder(source)
    if foreign is not None:
        return foreign.to(check_device("device", device), check_format("dtype", dtype))
    checkpoint = read_checkpoint(source, weights=weights, encoder=as_overrides(config))
    if checkpoint.world_model is not None and checkpoint.world_model.encoder_kind != "vjepa":
        name = checkpoint.world_model.encoder_name
        if name:
            raise CheckpointError(
                f"{checkpoint.source} has the registered encoder '{name}'; load it by this name."
            )
        kind = checkpoint.world_model.encoder_kind
        raise CheckpointError(f"{checkpoint.source} has a '{kind}' encoder, which holds no weights to load.")
    architecture = checkpoint.encoder
    if architecture is None:
        raise CheckpointError(
            f"{checkpoint.source} is of kind {checkpoint.name}, but an encoder is required."
        )
    return build_loaded(
        lambda: VideoEncoder(architecture), checkpoint.tensors["encoder"], checkpoint, device, dtype
    )


def load_encoder_or_world_model(
    source: str | Path, *, device: torch.device | str = "cpu"
) -> VideoEncoder | LatentWorldModel:
    """Load a world model where a checkpoint has one, else a frozen encoder; see the functions for each.

    Raises:
        CheckpointError: If there is neither, or it is broken.
        ConfigError: If the device is not supported.
    """
    foreign = _foreign_encoder(source)
    if foreign is not None:
        return foreign.to(check_device("device", device))
    if read_checkpoint(source).world_model is not None:
        return load_world_model(source, device=device)
    return load_encoder(source, device=device)


def _foreign_encoder(source: str | Path) -> RegisteredEncoder | None:
    """Return the encoder, if a source names one of another architecture than ours."""
    name, path = str(source), Path(source)
    if is_registered(name) and not path.exists():
        if is_path_of_code(name):
            register_path(name)  # the user named it, so it may be imported
        return RegisteredEncoder(name)
    if not path.exists() and is_hub_id(source):
        path = resolve_hub(name)
    if not is_foreign(path):
        return None
    from vjepa_world.models.encoders.transformers_backbone import read_backbone

    options, weights = read_backbone(path)
    encoder = RegisteredEncoder("transformers", options=options)
    encoder.module.model.load_state_dict(weights)  # type: ignore[union-attr]
    return encoder


def load_masked_predictor(
    source: str | Path, *, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> MaskedPredictor:
    """Load the predictor of pretraining from a Meta or transformers checkpoint.

    Raises:
        CheckpointError: If there is none.
    """
    checkpoint = read_checkpoint(source)
    encoder, predictor = checkpoint.encoder, checkpoint.masked_predictor
    if predictor is None or encoder is None:
        raise CheckpointError(
            f"{checkpoint.source} is of kind {checkpoint.name}, but a masked predictor is required."
        )
    tensors = checkpoint.tensors["masked_predictor"]
    return build_loaded(
        lambda: MaskedPredictor(predictor, encoder.embed_dim), tensors, checkpoint, device, dtype
    )


def load_world_model(
    source: str | Path,
    config: WorldModelConfig | Overrides | None = None,
    weights: str | None = None,
    *,
    embodiment: str | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> LatentWorldModel:
    """Load an encoder with its action-conditioned predictor.

    Args:
        source: As in :func:`read_checkpoint`.
        config: An architecture, or `{"encoder": {...}, "predictor": {...}}` with fields to override.
        weights: As in :func:`load_encoder`.
        embodiment: The model's default robot, whose states and actions will be given; None for the first one of the
            checkpoint.
        device: Device of the model.
        dtype: Type of the weights.

    Raises:
        CheckpointError: If there is none, it is broken, or it holds only an encoder.
        ConfigError: If `config` has an unknown field, or the model has no such embodiment.
    """
    overrides = {} if config is None else config
    if isinstance(overrides, WorldModelConfig):
        overrides = {"encoder": overrides.encoder, "predictor": overrides.predictor}
    for part in overrides:
        if part not in ("encoder", "predictor"):
            raise ConfigError(f"config key '{part}' is not known; allowed: encoder, predictor.")
    parts = {part: as_overrides(overrides.get(part)) for part in ("encoder", "predictor")}
    checkpoint = read_checkpoint(source, weights=weights, **parts)
    architecture = checkpoint.world_model
    if architecture is None:
        raise CheckpointError(
            f"{checkpoint.source} is of kind {checkpoint.name}, but a world model (encoder and action-conditioned "
            "predictor) is required; allowed: world_model. Train one with "
            f"`vjepa-world finetune encoder={'PATH' if checkpoint.encoder is None else checkpoint.source} "
            "data.path=DATASET`."
        )
    _check_embodiments(checkpoint)
    tensors = dict(checkpoint.tensors.get(STRAY, {}))
    for part in PARTS["world_model"]:
        tensors |= {f"{part}.{name}": tensor for name, tensor in checkpoint.tensors.get(part, {}).items()}
    if embodiment is not None:
        architecture = architecture.with_default(embodiment)
    return build_loaded(lambda: LatentWorldModel(architecture), tensors, checkpoint, device, dtype)


def _check_embodiments(checkpoint: Checkpoint) -> None:
    """Refuse statistics and bounds of a robot that are not finite or zero: they would turn every action into NaN."""
    for name, tensor in checkpoint.tensors.get("predictor", {}).items():
        kind = name.rpartition(".")[2]
        if not name.startswith("embodiments.") or not kind.endswith(("_mean", "_std", "_low", "_high")):
            continue
        if not tensor.isfinite().all() or (kind.endswith("_std") and not tensor.all()):
            raise CheckpointError(
                f"{checkpoint.source}: predictor.{name} is {tensor.flatten()[:8].tolist()}; expected finite numbers, "
                "and standard deviations other than 0. The checkpoint is broken, create it again."
            )


def build_loaded(
    make: Callable[[], Model],
    tensors: dict[str, Tensor],
    checkpoint: Checkpoint,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Model:
    """Build a model on the meta device and assign the file's tensors: nothing is initialised or stored twice.

    The tensors' names and shapes are those of the model's `state_dict`.
    Parameters have type `dtype`; buffers (statistics, bounds) are float32.

    Raises:
        CheckpointError: If tensors are missing, unexpected, of another shape or not floating-point numbers.
        ConfigError: If the type or the device is not supported.
    """
    dtype, device = check_format("dtype", dtype), check_device("device", device)
    with torch.device("meta"):
        model = make()
    _check_fit(model, tensors, checkpoint.source)
    weights = {name for name, _ in model.named_parameters()}
    formats = {
        name: (dtype if name in weights else torch.float32) if tensor.is_floating_point() else tensor.dtype
        for name, tensor in tensors.items()
    }
    try:
        placed = {name: tensor.to(device, formats[name]) for name, tensor in tensors.items()}
    except (
        RuntimeError,
        AssertionError,
        NotImplementedError,
    ) as error:  # no such device, or out of memory
        raise ConfigError(f"the model cannot be moved to device '{device}': {error}") from error
    model.load_state_dict(placed, assign=True)
    # Buffers that are not in a state, such as those of others' encoders, are still where they were made.
    return model.eval().requires_grad_(False).to(device)


def _check_fit(model: nn.Module, tensors: dict[str, Tensor], source: Path) -> None:
    own = model.state_dict()
    problems = differences(_shapes(own), _shapes(tensors), "model")
    problems += [
        f"{name}: file {tensor.dtype}, model {own[name].dtype}"
        for name, tensor in tensors.items()
        if name in own and tensor.is_floating_point() != own[name].is_floating_point()
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not fit its architecture in {len(problems)} tensors: {'; '.join(problems[:10])}. "
            "A folder's two files may belong to different models: copy the complete folder again; for another kind of "
            "file, give its architecture with config=."
        )


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, Shape]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}
