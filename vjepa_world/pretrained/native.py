"""The native format: a folder with `model.safetensors` and `config.json`, loaded strictly."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vjepa_world.errors import CheckpointError, ConfigError, nearest
from vjepa_world.files.validation import entries, mapping, read_json_object, short, text
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EmbodimentConfig,
    EncoderConfig,
    GoalReaderConfig,
    ImageStatistics,
    InverseConfig,
    LatentsConfig,
    MaskedPredictorConfig,
    ProbeConfig,
    WorldModelConfig,
)
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.folder import CONFIG, WEIGHTS, check_intact, write_folder
from vjepa_world.pretrained.shapes import check_depth

FORMAT_VERSION = 2

#: Versions that can be read; of a world model only the newest one.
READABLE_VERSIONS = (1, FORMAT_VERSION)

#: The parts of each kind. An encoder's tensors have no prefix; elsewhere a part's name is its tensors' prefix.
PARTS = {
    "encoder": ("encoder",),
    "world_model": ("encoder", "predictor", "latents", "inverse", "goal_reader", "decoder"),
    "pretraining": ("encoder", "masked_predictor"),
    "classifier": ("encoder", "probe"),
    "probe": ("probe",),
}

#: Largest number of robots in one world model.
MAX_EMBODIMENTS = 1000

#: Key in :class:`Checkpoint.tensors` of tensors that belong to no part; strict loading reports them.
STRAY = "stray"


def checkpoint_files(
    model: VideoEncoder | LatentWorldModel,
    *,
    dtype: torch.dtype | None = None,
    provenance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the files of a checkpoint folder by name, as :func:`write_folder` takes them."""
    kind = "world_model" if isinstance(model, LatentWorldModel) else "encoder"
    tensors = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    return {WEIGHTS: tensors, CONFIG: _description(kind, dataclasses.asdict(model.config), provenance or {})}


def write_native(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a checkpoint of any format as a native folder; every tensor is copied bit by bit.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    kind = native_kind(checkpoint)
    config: dict[str, Any]
    if checkpoint.world_model is not None:
        config = dataclasses.asdict(checkpoint.world_model)
    else:
        config = {part: dataclasses.asdict(getattr(checkpoint, part)) for part in PARTS[kind]}
    if kind == "encoder":
        config = config["encoder"]
    tensors = dict(checkpoint.tensors.get(STRAY, {}))
    for part in PARTS[kind]:
        prefix = "" if kind == "encoder" else f"{part}."
        tensors |= {prefix + name: tensor for name, tensor in checkpoint.tensors.get(part, {}).items()}
    provenance = {"converted_from": checkpoint.name} | checkpoint.details.get("provenance", {})
    description = _description(kind, config, provenance) | {
        key: value for key, value in checkpoint.details.items() if key == "labels"
    }
    stored = {name: tensor.contiguous() for name, tensor in tensors.items()}
    write_folder(folder, {WEIGHTS: stored, CONFIG: description})


def native_kind(checkpoint: Checkpoint) -> str:
    """Return the kind of :data:`PARTS` that holds the checkpoint's parts."""
    if checkpoint.world_model is not None:
        return "world_model"
    if checkpoint.masked_predictor is not None:
        return "pretraining"
    if checkpoint.probe is not None:
        return "probe" if checkpoint.encoder is None else "classifier"
    return "encoder"


def _description(kind: str, config: dict[str, Any], provenance: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "format_version": FORMAT_VERSION, "config": config, "provenance": provenance}


def _stored(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    cast = (
        tensor.to(dtype) if dtype is not None and tensor.ndim > 1 and tensor.is_floating_point() else tensor
    )
    return cast.detach().cpu().contiguous()


def find_checkpoint(folder: str | Path) -> Path:
    """Return `folder` itself if it is a checkpoint folder, else the newest checkpoint of the run folder.

    Raises:
        CheckpointError: If there is none.
    """
    folder = Path(folder)
    for candidate in (folder, *reversed(checkpoint_steps(folder))):
        if (candidate / CONFIG).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    reason = "does not exist" if not folder.exists() else f"holds no {WEIGHTS} with a {CONFIG}"
    raise CheckpointError(
        f"{folder} {reason}; expected a run folder (runs/pretrain/NAME), a checkpoint folder, a released .pt file, or "
        "org/name on the Hugging Face hub."
    )


def checkpoint_steps(run: Path) -> list[Path]:
    """Return a run's checkpoint folders, oldest first."""
    return sorted((run / "checkpoints").glob("step_*"))


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint folder's `config.json`; of a run folder, that of its newest checkpoint.

    Raises:
        CheckpointError: If there is no checkpoint, or its description is broken or of an unknown kind.
    """
    path = find_checkpoint(folder) / CONFIG
    description = read_json_object(
        path, again="The checkpoint is broken, create it again.", error=CheckpointError
    )
    kind = description.get("kind")
    if not isinstance(kind, str) or kind not in PARTS:
        raise CheckpointError(f"{path} describes kind {short(kind)}; {nearest(str(kind)[:100], PARTS)}")
    _check_version(path, description)
    if not isinstance(description.get("config"), dict):
        raise CheckpointError(f"{path} has no 'config' object; the checkpoint is broken, create it again.")
    description = {"provenance": {}, **description}
    mapping(description["provenance"], f"{path}: provenance", error=CheckpointError)
    labels = entries(description.get("labels", []), f"{path}: labels", error=CheckpointError)
    for label in labels:
        text(label, f"{path}: a label", error=CheckpointError)
    return description


def _check_version(path: Path, description: dict[str, Any]) -> None:
    version, kind = description.get("format_version"), description["kind"]
    readable = (FORMAT_VERSION,) if kind == "world_model" else READABLE_VERSIONS
    if version not in readable:
        allowed = " and ".join(map(str, readable))
        raise CheckpointError(
            f"{path} has format_version {version!r}; of kind {kind}, this release reads {allowed}. Use the release "
            "that wrote it, or create the checkpoint again (a world model: `vjepa-world finetune` with its encoder)."
        )


def read_native(source: str | Path) -> Checkpoint:
    """Read a checkpoint folder, or the newest checkpoint of a run folder.

    Raises:
        CheckpointError: If there is no checkpoint, or one of its files is broken.
    """
    description = read_config(source)
    folder = find_checkpoint(source)
    kind, values = description["kind"], description["config"]
    details: dict[str, Any] = {
        key: description[key] for key in ("provenance", "labels") if key in description
    }
    configs: dict[str, Any] = {}
    if kind == "encoder":
        configs["encoder"] = _build(EncoderConfig, values, folder)
    elif kind == "world_model":
        configs["world_model"] = world_model_config(values, folder)
        configs["encoder"] = configs["world_model"].encoder
    else:
        schemas = {"encoder": EncoderConfig, "masked_predictor": MaskedPredictorConfig, "probe": ProbeConfig}
        configs = {part: _build(schemas[part], values.get(part), folder) for part in PARTS[kind]}
    tensors = _by_part(_read_tensors(folder), PARTS[kind] if kind != "encoder" else ())
    for part, depth in _depths(configs).items():
        check_depth(part, depth, tensors.get(part, {}), folder)
    return Checkpoint(format="native", name=kind, source=folder, tensors=tensors, details=details, **configs)


def _depths(configs: dict[str, Any]) -> dict[str, int]:
    """Return the number of transformer blocks of each part that has some."""
    parts = dict(configs)
    world: WorldModelConfig | None = parts.pop("world_model", None)
    if world is not None:
        parts |= {name: getattr(world, name) for name in ("predictor", "inverse", "goal_reader", "decoder")}
        there = {
            "encoder": world.encoder_kind == "vjepa",
            "inverse": world.inverse.horizon > 0,
            "goal_reader": world.goal_reader.depth > 0,
            "decoder": world.decoder.image_size > 0,
        }
        parts |= {"latents": world.latents} if world.latents.kind == "queries" else {}
        parts = {part: config for part, config in parts.items() if there.get(part, True)}
    probe = parts.get("probe")
    if probe is not None and probe.kind == "linear":
        del parts["probe"]
    return {part: config.depth for part, config in parts.items()}


def _read_tensors(folder: Path) -> dict[str, Tensor]:
    """Return a checkpoint folder's tensors, memory-mapped."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            check_intact(folder / WEIGHTS)
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dictionary)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} cannot be read ({error}); it is truncated or not a safetensors file, create it again."
        ) from error


def _by_part(tensors: dict[str, Tensor], parts: tuple[str, ...]) -> dict[str, dict[str, Tensor]]:
    """Group tensors by the part that their name begins with; without parts, all belong to the encoder.

    Tensors of no part are collected under :data:`STRAY`.
    """
    if not parts:
        return {"encoder": tensors}
    sorted_tensors: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part in parts and rest:
            sorted_tensors.setdefault(part, {})[rest] = tensor
        else:
            sorted_tensors.setdefault(STRAY, {})[name] = tensor
    return sorted_tensors


def _build(schema: type, values: Any, source: Path) -> Any:
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{source / CONFIG} does not describe {schema.__name__}; the checkpoint is broken, create it again."
        )
    known = {field.name for field in dataclasses.fields(schema)}
    unknown = [key for key in values if key not in known]
    if unknown:
        raise CheckpointError(
            f"{source / CONFIG} has the unknown key '{unknown[0]}'; {nearest(unknown[0], known)}"
        )
    try:
        return schema(**values)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(
            f"{source / CONFIG} does not describe a valid {schema.__name__}: {error} The checkpoint is broken, "
            "create it again."
        ) from error


def world_model_config(values: dict[str, Any], source: Path) -> WorldModelConfig:
    """Rebuild a :class:`WorldModelConfig` from plain dictionaries.

    Raises:
        CheckpointError: If a part or key is missing, unknown or of the wrong type.
    """
    parts = dict(values)
    schemas = {
        "encoder": EncoderConfig,
        "predictor": ActionPredictorConfig,
        "latents": LatentsConfig,
        "inverse": InverseConfig,
        "decoder": DecoderConfig,
    }
    for part, schema in schemas.items():
        parts[part] = _build(schema, parts.get(part), source)
    later = {"images": ImageStatistics, "goal_reader": GoalReaderConfig}  # missing in earlier checkpoints
    parts |= {part: _build(schema, parts.get(part, {}), source) for part, schema in later.items()}
    embodiments = parts.get("embodiments")
    if not isinstance(embodiments, list) or len(embodiments) > MAX_EMBODIMENTS:
        raise CheckpointError(
            f"{source / CONFIG} lists no embodiments, or more than {MAX_EMBODIMENTS}; the checkpoint is broken, create "
            "it again."
        )
    parts["embodiments"] = tuple(_build(EmbodimentConfig, robot, source) for robot in embodiments)
    return _build(WorldModelConfig, parts, source)
