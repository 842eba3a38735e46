"""Saved probes: a checkpoint folder with the probe, the labels of its outputs and the input of its encoder."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.files.validation import finite_number, mapping, rate, text, whole_number
from vjepa_world.models.probe import Probe, build_probe
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.pretrained.folder import CONFIG, WEIGHTS
from vjepa_world.pretrained.loading import build_loaded, read_checkpoint
from vjepa_world.pretrained.native import FORMAT_VERSION, read_config

CLASSIFICATION, REGRESSION = "classification", "regression"


@dataclass(frozen=True, kw_only=True)
class SavedProbe:
    """A probe and all that is required to use it again.

    Attributes:
        probe: The weights.
        task: classification or regression.
        labels: Name of each output: a class, or a regressed quantity.
        encoder: Source of the encoder that it was trained on (a classifier's own); "" if unknown.
        encoder_digest: :func:`weights_digest` of that encoder; "" if unknown.
        shown: How a video was sampled and resized for the encoder; None if unknown.
        clips: Clips per video, whose probabilities are averaged.
    """

    probe: Probe
    task: str
    labels: tuple[str, ...]
    encoder: str = ""
    encoder_digest: str = ""
    shown: ClipInput | None = None
    clips: int = 1

    def __post_init__(self) -> None:
        outputs = self.probe.config.num_outputs
        if len(self.labels) != outputs:
            raise CheckpointError(
                f"the probe has {outputs} outputs and {len(self.labels)} labels; they must be the same."
            )
        if self.task not in (CLASSIFICATION, REGRESSION):
            raise CheckpointError(
                f"a probe's task is '{self.task}'; allowed: {CLASSIFICATION}, {REGRESSION}."
            )

    def check_fit(self, width: int, encoder: str) -> None:
        """Refuse an encoder of another width.

        Args:
            width: Width of the encoder's features.
            encoder: The encoder's name for messages.

        Raises:
            CheckpointError: If the probe was trained on features of another width.
        """
        own = self.probe.config.embed_dim
        if width != own:
            raise CheckpointError(
                f"the probe reads features of width {own}, but the encoder {encoder} gives {width}; "
                "give the encoder that the probe was trained on."
            )


def probe_files(saved: SavedProbe, provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the files of a probe's checkpoint folder, as :func:`write_folder` takes them."""
    tensors = {
        f"probe.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in saved.probe.state_dict().items()
    }
    description = {
        "kind": "probe",
        "format_version": FORMAT_VERSION,
        "config": {"probe": dataclasses.asdict(saved.probe.config)},
        "labels": list(saved.labels),
        "task": saved.task,
        "encoder": saved.encoder,
        "encoder_digest": saved.encoder_digest,
        "shown": dataclasses.asdict(saved.shown) if saved.shown else None,
        "clips": saved.clips,
        "provenance": provenance,
    }
    return {WEIGHTS: tensors, CONFIG: description}


def load_probe(source: str | Path) -> SavedProbe:
    """Load a probe, ready to use.

    Args:
        source: A run or checkpoint folder of `vjepa-world probe`, a released probe file, or a transformers classifier.
            The last two do not describe the encoder's input.

    Raises:
        CheckpointError: If there is no checkpoint, it is broken, or it holds no probe.
    """
    checkpoint = read_checkpoint(source)
    if checkpoint.probe is None:
        raise CheckpointError(
            f"{checkpoint.source} is of kind {checkpoint.name}, but a probe is required; "
            "train one with `vjepa-world probe`."
        )
    architecture = checkpoint.probe
    probe = build_loaded(lambda: build_probe(architecture), checkpoint.tensors.get("probe", {}), checkpoint)
    labels = _labels(checkpoint.details.get("labels"), checkpoint.probe.num_outputs)
    known: dict[str, Any] = {
        "task": CLASSIFICATION,
        "encoder": "" if checkpoint.encoder is None else str(source),
    }
    if checkpoint.format == "native":
        known |= _description(source)
    return SavedProbe(probe=probe, labels=labels, **known)


def _labels(found: Any, outputs: int) -> tuple[str, ...]:
    """Return the names of the outputs, or their indices if the file has none."""
    return tuple(map(str, found or range(outputs)))


def _description(source: str | Path) -> dict[str, Any]:
    """Return the fields of a native checkpoint's description."""
    written, where = read_config(source), f"{source}: "
    known: dict[str, Any] = {
        key: text(written[key], where + key, error=CheckpointError)
        for key in ("task", "encoder", "encoder_digest")
        if key in written
    }
    if "clips" in written:
        known["clips"] = whole_number(
            written["clips"], where + "clips", least=1, most=10_000, error=CheckpointError
        )
    return {**known, "shown": _clip_input(written["shown"], source) if written.get("shown") else None}


def _clip_input(written: Any, source: str | Path) -> ClipInput:
    """Return how videos were sampled and resized for the encoder."""
    try:
        values = dict(mapping(written, "shown", error=ConfigError))
        for name, most in (("frames", 2**16), ("image_size", 2**14)):
            values[name] = whole_number(values.get(name), name, least=1, most=most, error=ConfigError)
        values["fps"] = rate(values.get("fps"), "fps", error=ConfigError)
        values["crop"] = finite_number(values.get("crop"), "crop", least=0.0, most=1.0, error=ConfigError)
        return ClipInput(**values)
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{source} has a wrong description of its encoder's input ({error}); create the checkpoint again."
        ) from error


def weights_digest(module: nn.Module) -> str:
    """Return a digest of all weights: two modules with the same digest compute the same features."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
