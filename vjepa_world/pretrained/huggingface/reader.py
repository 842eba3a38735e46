"""Folders of the transformers library, in and out; transformers itself is not required.

In: `VJEPA2Model`, `VJEPA2ForVideoClassification`, `IJepaModel` and the encoder of `IJepaForImageClassification`.
Written: the first three.
"""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError
from vjepa_world.files.validation import mapping, read_json_object, short
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import AttentiveProbe
from vjepa_world.models.transformer import NORM_EPS
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.folder import CONFIG, WEIGHTS, write_folder
from vjepa_world.pretrained.hub import resolve_hub
from vjepa_world.pretrained.huggingface.config import (
    MODEL_TYPES,
    Architecture,
    complete,
    read_architecture,
    read_labels,
)
from vjepa_world.pretrained.huggingface.key_maps import (
    IJEPA_ENCODER,
    IJEPA_ENCODER_IN_MEMORY,
    VJEPA2_ENCODER,
    VJEPA2_PREDICTOR,
    VJEPA2_PROBE,
    PartNames,
)
from vjepa_world.pretrained.huggingface.writer import (
    check_writable,
    is_image_encoder,
    obstacles,
    write_config,
    write_preprocessor,
)
from vjepa_world.pretrained.shapes import check_depth, differences
from vjepa_world.pretrained.weight_files import WeightFiles, open_weights

__all__ = ["is_huggingface", "obstacles", "read_huggingface", "resolve_hub", "write_huggingface"]

#: Unused tensors: what transformers adds to I-JEPA's encoder.
IJEPA_IGNORED = r"(ijepa\.)?(pooler\.dense\.(weight|bias)|embeddings\.mask_token)|classifier\.(weight|bias)"

#: Key of `config.json` in which our writer stores how the weights were made; transformers preserves it.
PROVENANCE = "provenance"

#: Unused tensors: a predictor without layers in `config.json`, or with an unsupported LayerNorm eps.
VJEPA2_IGNORED = r"(vjepa2\.)?predictor\..+"


def is_huggingface(path: Path) -> bool:
    """Return whether `path` is a folder whose `config.json` has a `model_type` that is read as our architecture."""
    return _model_type(path) in tuple(MODEL_TYPES)


def is_foreign(path: Path) -> bool:
    """Return whether `path` is a transformers folder of another architecture than ours."""
    found = _model_type(path)
    return isinstance(found, str) and found not in MODEL_TYPES


def _model_type(path: Path) -> object:
    try:
        values = json.loads((path / CONFIG).read_text())
    except (OSError, ValueError, RecursionError):
        return None
    return values.get("model_type") if isinstance(values, dict) else None


def read_huggingface(path: Path) -> Checkpoint:
    """Read a transformers folder. Tensors are memory-mapped, except query, key and value, which are concatenated.

    A predictor whose LayerNorm eps is not V-JEPA 2's is left out, and the checkpoint's name says so.

    Raises:
        CheckpointError: If a file is missing or broken, a tensor is missing, unexpected or of another shape, or the
            architecture is not supported.
    """
    values = _read_config(path)
    kind = values["model_type"]
    used_values = complete(values, path / CONFIG)
    files = open_weights(path)
    prefix = f"{kind}." if any(name.startswith(f"{kind}.") for name in files.shapes) else ""
    has_predictor = any(name.startswith(f"{prefix}predictor.") for name in files.shapes)
    predictor = (
        has_predictor
        and used_values["pred_num_hidden_layers"] > 0
        and used_values["layer_norm_eps"] == NORM_EPS
    )
    outputs = _outputs(values, files) if _has_probe(kind, files) else None
    architecture = read_architecture(kind, used_values, path / CONFIG, predictor=predictor, outputs=outputs)
    for name, config in architecture._asdict().items():
        if config is not None:
            check_depth(name, config.depth, files.shapes, path)
    parts = _parts(
        architecture, prefix, in_memory=f"{prefix}layers.0.attention.q_proj.weight" in files.shapes
    )
    ignorable = IJEPA_IGNORED if kind == "ijepa" else "" if predictor else VJEPA2_IGNORED
    ignored = _check_tensors(path, parts, files, ignorable)
    labels = read_labels(values, outputs, path / CONFIG) if outputs is not None else []
    provenance = mapping(
        values.get(PROVENANCE) or {}, f"{path / CONFIG}: {PROVENANCE}", error=CheckpointError
    )
    details = {"labels": labels, PROVENANCE: provenance}
    return Checkpoint(
        format="huggingface",
        name=_title(kind, prefix, has_predictor, used_values),
        source=path,
        tensors=_read_tensors(parts, files),
        ignored=ignored,
        details={word: value for word, value in details.items() if value},
        **architecture._asdict(),
    )


def _read_config(path: Path) -> dict[str, Any]:
    again = "Expected that of a transformers folder; download it again."
    values = read_json_object(path / CONFIG, again=again, error=CheckpointError)
    found = values.get("model_type")
    if found not in tuple(MODEL_TYPES):  # a tuple: the value may be unhashable
        raise CheckpointError(
            f"{path / CONFIG} has model_type {short(found)}; allowed: {', '.join(sorted(MODEL_TYPES))}. "
            "Other architectures of transformers are not supported."
        )
    return values


def _has_probe(kind: str, files: WeightFiles) -> bool:
    return kind == "vjepa2" and any(name.startswith(("pooler.", "classifier.")) for name in files.shapes)


def _outputs(values: dict[str, Any], files: WeightFiles) -> int:
    """Return the number of the classifier's outputs; if its tensor is missing (an error later), the expected one."""
    named = values.get("id2label")
    expected = len(named) if isinstance(named, dict) and named else 2  # as in transformers
    return (*files.shapes.get("classifier.weight", ()), expected)[0]


def _title(kind: str, prefix: str, has_predictor: bool, used_values: dict[str, Any]) -> str:
    """Return the name of the transformers class."""
    classes = {"vjepa2": ("VJEPA2Model", "VJEPA2ForVideoClassification")}
    title = "transformers " + classes.get(kind, ("IJepaModel", "IJepaForImageClassification"))[bool(prefix)]
    if has_predictor and used_values["layer_norm_eps"] != NORM_EPS:
        title += f", without its predictor (LayerNorm eps {used_values['layer_norm_eps']}; only {NORM_EPS} is known)"
    return title


def _parts(architecture: Architecture, prefix: str, *, in_memory: bool = False) -> dict[str, PartNames]:
    """Return the names and shapes of each part; `in_memory` selects between I-JEPA's two sets of names."""
    encoder, predictor, probe = architecture
    encoder_table = VJEPA2_ENCODER
    if is_image_encoder(encoder):
        encoder_table = IJEPA_ENCODER_IN_MEMORY if in_memory else IJEPA_ENCODER
    with torch.device("meta"):  # shapes alone
        parts = {"encoder": PartNames(_shapes(VideoEncoder(encoder)), encoder_table, prefix)}
        if predictor is not None:
            module = MaskedPredictor(predictor, encoder.embed_dim)
            parts["masked_predictor"] = PartNames(_shapes(module), VJEPA2_PREDICTOR, prefix)
        if probe is not None:
            parts["probe"] = PartNames(_shapes(AttentiveProbe(probe)), VJEPA2_PROBE)
    return parts


def _shapes(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _check_tensors(
    path: Path, parts: dict[str, PartNames], files: WeightFiles, ignorable: str
) -> tuple[str, ...]:
    """Return the ignored tensors; all others must be exactly the expected ones."""
    expected = {name: shape for part in parts.values() for name, shape in part.hf_shapes().items()}
    ignored = [name for name in files.shapes if name not in expected and re.fullmatch(ignorable, name)]
    found = {name: shape for name, shape in files.shapes.items() if name not in ignored}
    problems = differences(expected, found)
    if problems:
        raise CheckpointError(
            f"{path} does not fit its {CONFIG} in {len(problems)} tensors: {'; '.join(problems[:10])}. "
            "The folder's files may belong to different models: download or copy the complete folder again."
        )
    return tuple(ignored)


def _read_tensors(parts: dict[str, PartNames], files: WeightFiles) -> dict[str, dict[str, Tensor]]:
    """Return each part's tensors under our names."""
    sources = {key: {own: part.hf_names(own) for own in part.shapes} for key, part in parts.items()}
    several = [
        name for part in sources.values() for names in part.values() if len(names) > 1 for name in names
    ]
    alone = {names[0] for part in sources.values() for names in part.values() if len(names) == 1}
    # Two memory mappings: that of the concatenated tensors is released before the other one is used.
    joined = _joined(parts, sources, files.fetch(several))
    mapped = files.fetch(alone)
    return {
        key: {
            own: joined[names[0]] if len(names) > 1 else part.from_hf(own, [mapped[names[0]]])
            for own, names in sources[key].items()
        }
        for key, part in parts.items()
    }


def _joined(
    parts: dict[str, PartNames], sources: dict[str, dict[str, tuple[str, ...]]], slices: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return our tensors that consist of several of transformers', by the first of their names."""
    return {
        names[0]: part.from_hf(own, [slices[name] for name in names])
        for key, part in parts.items()
        for own, names in sources[key].items()
        if len(names) > 1
    }


def write_huggingface(checkpoint: Checkpoint, folder: Path) -> None:
    """Write a folder that `transformers.AutoModel.from_pretrained` opens; every tensor is copied bit by bit.

    With an attentive probe it is a `VJEPA2ForVideoClassification`. A checkpoint without a masked predictor gets one
    without layers in `config.json`, and no weights for it: transformers then warns that `predictor.*` is newly
    initialised; `model(video, skip_predictor=True)` and the classifier never use it.

    Raises:
        CheckpointError: If transformers does not support the architecture, the tensors do not fit it, or the folder
            cannot be written.
    """
    architecture = check_writable(checkpoint)
    parts = _parts(architecture, "vjepa2." if architecture.probe is not None else "")
    tensors: dict[str, Tensor] = {}
    for key, part in parts.items():
        own = checkpoint.tensors.get(key, {})
        problems = differences(part.shapes, {name: tuple(tensor.shape) for name, tensor in own.items()})
        if problems:
            raise CheckpointError(
                f"{checkpoint.source} does not fit its architecture in {len(problems)} tensors of its {key}: "
                f"{'; '.join(problems[:10])}. Give the architecture with config=, or copy the checkpoint again."
            )
        tensors |= part.to_hf(own)
    dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors.values()))
    config = write_config(
        architecture, str(dtype).removeprefix("torch."), checkpoint.details.get("labels", ())
    )
    provenance = checkpoint.details.get(PROVENANCE)
    config |= {PROVENANCE: provenance} if provenance else {}
    name, preprocessor = write_preprocessor(architecture.encoder)
    write_folder(folder, {WEIGHTS: tensors, CONFIG: config, name: preprocessor})
