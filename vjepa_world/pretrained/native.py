"""Checkpoint folders: `model.safetensors` and `config.json`, written atomically, loaded strictly."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from vjepa_world.errors import CheckpointError, nearest
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig, WorldModelConfig
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.world_model import LatentWorldModel

WEIGHTS, CONFIG = "model.safetensors", "config.json"
FORMAT_VERSION = 1
KINDS = ("encoder", "world_model")


def save_pretrained(
    model: VideoEncoder | LatentWorldModel,
    folder: str | Path,
    *,
    dtype: torch.dtype | None = None,
    provenance: dict[str, Any] | None = None,
) -> None:
    """Write `model` to `folder`, whole or not at all.

    Args:
        model: An encoder or a world model.
        folder: Where; replaced if it exists.
        dtype: Store matrices in this type (float16 halves the size).
        provenance: Where the weights come from (commands, seeds, versions), kept in `config.json`.

    Raises:
        CheckpointError: If the folder cannot be written (a full disk); nothing half-written stays.
    """
    write_folder(Path(folder), checkpoint_files(model, dtype=dtype, provenance=provenance))


def checkpoint_files(
    model: VideoEncoder | LatentWorldModel,
    *,
    dtype: torch.dtype | None = None,
    provenance: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the files of a checkpoint folder, name by name, as :func:`write_folder` takes them."""
    description = {
        "kind": "world_model" if isinstance(model, LatentWorldModel) else "encoder",
        "format_version": FORMAT_VERSION,
        "config": dataclasses.asdict(model.config),
        "provenance": provenance or {},
    }
    tensors = {name: _stored(tensor, dtype) for name, tensor in model.state_dict().items()}
    return {WEIGHTS: tensors, CONFIG: description}


def _stored(tensor: torch.Tensor, dtype: torch.dtype | None) -> torch.Tensor:
    cast = (
        tensor.to(dtype) if dtype is not None and tensor.ndim > 1 and tensor.is_floating_point() else tensor
    )
    return cast.detach().cpu().contiguous()


def write_folder(folder: Path, files: dict[str, Any]) -> None:
    """Write a folder of `.safetensors`, `.json` and `.pt` files atomically: a partial one is never seen.

    A folder that stands there already is replaced, if it holds nothing but a checkpoint's files.

    Raises:
        CheckpointError: If the disk is full, the place cannot be written, or other files are in the way.
    """
    temporary = None
    try:
        _check_replaceable(folder, files)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        temporary.chmod(0o755)
        for name, content in files.items():
            _write_file(temporary / name, content)
        _move_into_place(temporary, folder)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CheckpointError(
            f"could not write the checkpoint {folder}: {error}. Free some disk space or choose another place; "
            "nothing half-written was left behind."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_replaceable(folder: Path, files: dict[str, Any]) -> None:
    if folder.is_dir():
        others = sorted(path.name for path in folder.iterdir() if path.name not in {WEIGHTS, CONFIG, *files})
        if others:
            raise CheckpointError(
                f"{folder} holds more than a checkpoint ({', '.join(others[:3])}), which replacing it would delete; "
                "choose a new folder."
            )
    elif folder.exists():
        raise CheckpointError(f"{folder} is a file; a checkpoint is a folder: choose another place.")


def _move_into_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.old."))
    folder.rename(old)
    try:
        temporary.rename(folder)
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old)


def _write_file(path: Path, content: Any) -> None:
    if path.suffix == ".safetensors":
        save_file(content, path)
        path.chmod(0o644)  # safetensors lets the owner alone read
    elif path.suffix == ".json":
        path.write_text(json.dumps(content, indent=2) + "\n")
    else:
        torch.save(content, path)
    with path.open("rb") as stream:  # the folder's new name must not reach the disk before its content
        os.fsync(stream.fileno())


def read_config(folder: str | Path) -> dict[str, Any]:
    """Return the content of a checkpoint folder's `config.json`; a run folder leads to its newest checkpoint.

    Raises:
        CheckpointError: If there is no checkpoint, or its description is broken or of an unknown kind.
    """
    path = find_checkpoint(folder) / CONFIG
    try:
        description = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({error}); the checkpoint is broken, make it again."
        ) from error
    if not isinstance(description, dict) or description.get("kind") not in KINDS:
        kind = description.get("kind") if isinstance(description, dict) else None
        raise CheckpointError(f"{path} describes kind {kind!r}; {nearest(str(kind), KINDS)}")
    if description.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path} has format_version {description.get('format_version')!r}, this release reads {FORMAT_VERSION}; "
            "use the release that wrote it, or make the checkpoint again."
        )
    if not isinstance(description.get("config"), dict):
        raise CheckpointError(f"{path} has no 'config' object; the checkpoint is broken, make it again.")
    return {"provenance": {}, **description}


def find_checkpoint(folder: str | Path) -> Path:
    """Return the checkpoint folder that `folder` is, or the newest one of a run folder.

    Raises:
        CheckpointError: If there is none.
    """
    folder = Path(folder)
    for candidate in (folder, *reversed(checkpoint_steps(folder))):
        if (candidate / CONFIG).is_file() and (candidate / WEIGHTS).is_file():
            return candidate
    reason = "does not exist" if not folder.exists() else f"holds no {WEIGHTS} with a {CONFIG}"
    raise CheckpointError(
        f"{folder} {reason}; expected a checkpoint folder, or a run folder with checkpoints/step_N. "
        "Name one that `vjepa-world pretrain` or `finetune` wrote."
    )


def checkpoint_steps(run: Path) -> list[Path]:
    """Return a run's checkpoint folders, oldest first."""
    return sorted((run / "checkpoints").glob("step_*"))


def load_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Read a checkpoint folder's tensors as float32.

    Raises:
        CheckpointError: If the file is truncated or not safetensors.
    """
    try:
        tensors = load_file(folder / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder / WEIGHTS} cannot be read ({error}); it is truncated or not a safetensors file, make it again."
        ) from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()
    }


def load_strictly(model: nn.Module, tensors: dict[str, torch.Tensor], source: Path) -> None:
    """Copy `tensors` into `model`; every name and shape must match.

    Raises:
        CheckpointError: Naming the first ten differences.
    """
    own = model.state_dict()
    problems = [f"missing {name} {list(own[name].shape)}" for name in own if name not in tensors]
    problems += [f"unexpected {name} {list(tensors[name].shape)}" for name in tensors if name not in own]
    problems += [
        f"{name}: file {list(tensors[name].shape)}, model {list(own[name].shape)}"
        for name in own
        if name in tensors and own[name].shape != tensors[name].shape
    ]
    if problems:
        raise CheckpointError(
            f"{source} does not fit its config.json in {len(problems)} tensors: {'; '.join(problems[:10])}. "
            "The two files belong to different models; copy the folder again, whole."
        )
    model.load_state_dict(tensors)


def _expect_kind(folder: Path, description: dict[str, Any], allowed: tuple[str, ...], need: str) -> None:
    if description["kind"] not in allowed:
        raise CheckpointError(
            f"{folder} is of kind {description['kind']}, but {need} is needed; allowed: {', '.join(allowed)}."
        )


def _build(schema: type, values: Any, source: Path) -> Any:
    if not isinstance(values, dict):
        raise CheckpointError(
            f"{source / CONFIG} describes no {schema.__name__}; the checkpoint is broken, make it again."
        )
    known = {field.name for field in dataclasses.fields(schema)}
    unknown = [key for key in values if key not in known]
    if unknown:
        raise CheckpointError(
            f"{source / CONFIG} has the unknown key '{unknown[0]}'; {nearest(unknown[0], known)}"
        )
    try:
        return schema(**values)
    except TypeError as error:
        raise CheckpointError(
            f"{source / CONFIG} holds a value of the wrong type in its {schema.__name__} ({error}); "
            "the checkpoint is broken, make it again."
        ) from error


def world_model_config(values: dict[str, Any], source: Path) -> WorldModelConfig:
    """Rebuild a :class:`WorldModelConfig` from plain dictionaries.

    Raises:
        CheckpointError: If a part or key is missing, unknown or of the wrong type.
    """
    parts = dict(values)
    parts["encoder"] = _build(EncoderConfig, parts.get("encoder"), source)
    parts["predictor"] = _build(ActionPredictorConfig, parts.get("predictor"), source)
    return _build(WorldModelConfig, parts, source)


def load_encoder(source: str | Path, *, device: torch.device | str = "cpu") -> VideoEncoder:
    """Load a frozen encoder from an encoder's or a world model's checkpoint folder (or a run folder).

    Raises:
        CheckpointError: If there is none, it is broken, or it does not fit its description.
    """
    description = read_config(source)
    folder = find_checkpoint(source)
    tensors = load_weights(folder)
    if description["kind"] == "world_model":
        config = world_model_config(description["config"], folder)
        if config.encoder_kind != "vjepa":
            raise CheckpointError(
                f"{folder} has a '{config.encoder_kind}' encoder, which holds no weights to load."
            )
        prefix = "encoder."
        tensors = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
        encoder_config = config.encoder
    else:
        encoder_config = _build(EncoderConfig, description["config"], folder)
    encoder = VideoEncoder(encoder_config)
    load_strictly(encoder, tensors, folder)
    return encoder.eval().requires_grad_(False).to(device)


def load_world_model(source: str | Path, *, device: torch.device | str = "cpu") -> LatentWorldModel:
    """Load an encoder with its action-conditioned predictor from a checkpoint folder (or a run folder).

    Raises:
        CheckpointError: If there is none, it is broken, or it holds only an encoder.
    """
    description = read_config(source)
    folder = find_checkpoint(source)
    _expect_kind(
        folder, description, ("world_model",), "a world model (encoder and action-conditioned predictor)"
    )
    model = LatentWorldModel(world_model_config(description["config"], folder))
    load_strictly(model, load_weights(folder), folder)
    return model.eval().requires_grad_(False).to(device)
