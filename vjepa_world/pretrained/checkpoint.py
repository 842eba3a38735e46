"""What every format is read into and written from: typed configurations and tensors under our names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from vjepa_world.models.config import (
    EncoderConfig,
    MaskedPredictorConfig,
    ProbeConfig,
    WorldModelConfig,
)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint as its file has it. A part that it lacks has no configuration and no tensors.

    Tensors may be memory-mapped: nothing is copied before a model takes them.

    Attributes:
        format: native, meta or huggingface.
        name: What kind of file it was recognised as, in words ("V-JEPA 2 training file").
        source: The file or folder.
        encoder: Of a checkpoint with an encoder.
        masked_predictor: Of a checkpoint with the predictor of pretraining.
        world_model: Of a checkpoint with an action-conditioned predictor; its `encoder` is `encoder` above.
        probe: Of a checkpoint with a classifier or regressor on frozen features.
        tensors: By part (`encoder`, `masked_predictor`, `predictor`, `probe`), then by the module's own names.
        ignored: Tensors of the file that no part uses, each on the format's list of ignorable ones.
        details: What else the file tells (labels, epoch, provenance).
    """

    format: str
    name: str
    source: Path
    encoder: EncoderConfig | None = None
    masked_predictor: MaskedPredictorConfig | None = None
    world_model: WorldModelConfig | None = None
    probe: ProbeConfig | None = None
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
