"""The common representation that every format is read into and written from."""

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
    """The content of a checkpoint: typed configurations, and tensors under the names of our modules.

    A part that is missing has no configuration and no tensors.

    Tensors may be memory-mapped: nothing is copied before a model is built.

    Attributes:
        format: native, meta or huggingface.
        name: The recognised kind of file, for messages ("V-JEPA 2 training file").
        source: The file or folder.
        encoder: The encoder's architecture, if there is one.
        masked_predictor: The architecture of the predictor of pretraining, if there is one.
        world_model: The world model's architecture, if there is an action-conditioned predictor.
        probe: The architecture of a classifier or regressor on frozen features, if there is one.
        tensors: By part (`encoder`, `masked_predictor`, `predictor`, `probe`), then by the module's own names; the
            shapes are the module's.
        ignored: Unused tensors of the file; each is on the format's list of ignorable tensors.
        details: Other content of the file (labels, epoch, provenance).
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
