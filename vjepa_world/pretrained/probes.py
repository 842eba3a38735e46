"""Probes on disk: a checkpoint folder with the probe, what its outputs mean and what its encoder was shown."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.probe import Probe, build_probe
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.pretrained.folder import CONFIG, WEIGHTS, write_folder
from vjepa_world.pretrained.loading import read_checkpoint
from vjepa_world.pretrained.native import FORMAT_VERSION, read_config

CLASSIFICATION, REGRESSION = "classification", "regression"


@dataclass(frozen=True, kw_only=True)
class SavedProbe:
    """A probe and all that is needed to use it again.

    Attributes:
        probe: The weights.
        task: classification or regression.
        labels: What each output is: a class, or the name of a number.
        encoder: Source of the encoder that it was trained on (a classifier's own); "" where the file does not tell.
        encoder_digest: :func:`weights_digest` of that encoder; "" where the file does not tell.
        shown: What of a video the encoder was shown; None where the file does not tell.
        clips: Clips of a video whose probabilities are averaged.
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
            width: Of the encoder's features.
            encoder: What to call it.

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


def save_probe(saved: SavedProbe, folder: str | Path, provenance: dict[str, Any] | None = None) -> None:
    """Write a probe to `folder`, whole or not at all.

    Raises:
        CheckpointError: If the folder cannot be written.
    """
    write_folder(Path(folder), probe_files(saved, provenance or {}))


def load_probe(source: str | Path) -> SavedProbe:
    """Load a probe, ready to use.

    Args:
        source: A probe run or checkpoint folder of ours, a released probe file, or a transformers classifier. The last
            two do not tell what the encoder was shown.

    Raises:
        CheckpointError: If there is none, it is broken, or it holds no probe.
    """
    checkpoint = read_checkpoint(source)
    if checkpoint.probe is None:
        raise CheckpointError(
            f"{checkpoint.source} is of kind {checkpoint.name}, but a probe is needed; "
            "train one with `vjepa-world probe`."
        )
    probe = build_probe(checkpoint.probe)
    try:
        probe.load_state_dict(checkpoint.tensors.get("probe", {}))
    except RuntimeError as error:
        raise CheckpointError(f"{checkpoint.source} does not fit its architecture: {error}.") from error
    labels = _labels(checkpoint.details.get("labels"), checkpoint.probe.num_outputs)
    known: dict[str, Any] = {
        "task": CLASSIFICATION,
        "encoder": "" if checkpoint.encoder is None else str(source),
    }
    if checkpoint.format == "native":
        known |= _description(source)
    return SavedProbe(probe=probe.eval().requires_grad_(False), labels=labels, **known)


def _labels(found: Any, outputs: int) -> tuple[str, ...]:
    """Return the outputs' names as the file has them, or their numbers where it has none."""
    return tuple(map(str, found or range(outputs)))


def _description(source: str | Path) -> dict[str, Any]:
    """Return what our own format tells beside the weights."""
    written = read_config(source)
    known: dict[str, Any] = {
        key: written[key] for key in ("task", "encoder", "encoder_digest", "clips") if key in written
    }
    try:
        shown = ClipInput(**written["shown"]) if written.get("shown") else None
    except (TypeError, ConfigError) as error:
        raise CheckpointError(
            f"{source} describes wrongly what its encoder was shown ({error}); make the checkpoint again."
        ) from error
    return {**known, "shown": shown}


def weights_digest(module: nn.Module) -> str:
    """Return a digest of all weights, bit by bit: two modules with the same one give the same features."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
