"""Reads Meta's `.pt` files: training files of V-JEPA 2, 2-AC, 2.1 and 1 and of I-JEPA, and attentive probes.

A training file has the entries `encoder`, `predictor`, `target_encoder` (or `ema_encoder`), `opt`, `scaler` and
numbers; a probe file has `classifiers` (V-JEPA 1: `classifier`). Our writer adds the entry `vjepa_world` if the
architecture cannot be inferred completely from the tensors; Meta's code reads entries by name and ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.action_predictor import ActionPredictor
from vjepa_world.models.config import (
    ActionPredictorConfig,
    EncoderConfig,
    MaskedPredictorConfig,
    ProbeConfig,
)
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.masked_predictor import MaskedPredictor
from vjepa_world.models.probe import AttentiveProbe
from vjepa_world.pretrained.checkpoint import Checkpoint
from vjepa_world.pretrained.meta.architecture import (
    build_config,
    encoder_config,
    infer_action_predictor,
    infer_masked_predictor,
    infer_probe,
    world_model_config,
)
from vjepa_world.pretrained.meta.checks import (
    IGNORABLE_ENTRIES,
    UNUSED_PROJECTION,
    check_entries,
    match_tensors,
)
from vjepa_world.pretrained.meta.file import is_meta, load_meta_file
from vjepa_world.pretrained.meta.key_maps import add_embodiment, infer_embodiment, strip_prefixes
from vjepa_world.pretrained.meta.kinds import (
    ENCODERS,
    OWN_ENTRY,
    PATCHES,
    State,
    is_action_predictor,
    kind_of,
    positions_of,
)
from vjepa_world.pretrained.meta.writer import write_meta
from vjepa_world.pretrained.overrides import Overrides, as_overrides

__all__ = ["is_meta", "read_meta", "write_meta"]


def read_meta(
    path: Path,
    *,
    weights: str | None = None,
    encoder: EncoderConfig | Overrides | None = None,
    predictor: MaskedPredictorConfig | ActionPredictorConfig | Overrides | None = None,
    classifier: int = 0,
) -> Checkpoint:
    """Read one of Meta's files. Tensors are memory-mapped, except in files from before PyTorch 1.6.

    A masked predictor with sine-cosine positions (V-JEPA 1, I-JEPA) is not supported and ignored. A predictor of
    unknown width is left out, and the checkpoint's name says so, unless `predictor` gives its heads; its encoder can
    still be loaded.

    Args:
        path: The file.
        weights: Which encoder: `encoder`, `target_encoder` or `ema_encoder`. None selects the one that
            Meta's code loads: of V-JEPA 2-AC `encoder`, of V-JEPA 2.1 `ema_encoder` or `target_encoder` (whichever
            exists), of others `target_encoder`.
        encoder: Fields of :class:`EncoderConfig` that override the inferred ones.
        predictor: The same for the file's predictor.
        classifier: Which of a file's probes, from 0. Meta trains a sweep of them in parallel; its demo uses
            the first one.

    Returns:
        The checkpoint. Its details contain the selected `weights`, the `epoch`, and for probes the `classifier`.

    Raises:
        CheckpointError: If the file is broken, needs more than tensors to be unpickled, is of an unknown kind, lacks
            the requested weights, or a tensor is missing, unexpected or of another shape.
        ConfigError: If an override is unknown, or the resulting architecture is not valid.
    """
    path = Path(path)
    content = load_meta_file(path)
    try:
        check_entries(content)
        own = _own_entry(content)
        overrides = {
            "encoder": {**own.get("encoder", {}), **as_overrides(encoder)},
            "predictor": {**own.get("predictor", {}), **as_overrides(predictor)},
            "probe": own.get("probe", {}),
        }
        reader = _FileReader(content, overrides, own)
        reader.read_training(weights)
        reader.read_probe(classifier)
    except (CheckpointError, ConfigError) as error:
        raise type(error)(f"{path}: {error}") from error
    return reader.checkpoint(path)


def _own_entry(content: Mapping[str, Any]) -> Overrides:
    """Return the entry of our writer: fields by part, labels, the robot's name and action bounds."""
    own = content.get(OWN_ENTRY, {})
    parts = ("encoder", "predictor", "probe", "bounds")
    fits = isinstance(own, Mapping) and all(isinstance(own.get(part, {}), Mapping) for part in parts)
    labels = own.get("labels", []) if fits else None
    named = isinstance(labels, list | tuple) and all(isinstance(label, str) for label in labels)
    if not named or not all(isinstance(bound, Tensor) for bound in own.get("bounds", {}).values()):
        raise CheckpointError(
            f"the entry '{OWN_ENTRY}' does not hold fields by part; the file is broken, create it again."
        )
    return own


class _FileReader:
    """Reads a file's entries one by one, and records which are used."""

    def __init__(self, content: dict[str, Any], overrides: dict[str, Overrides], own: Overrides) -> None:
        self.content, self.overrides, self.own = content, overrides, own
        self.name = ""
        self.configs: dict[str, Any] = {}
        self.tensors: dict[str, State] = {}
        self.ignored: list[str] = [key for key in IGNORABLE_ENTRIES if content.get(key) is not None]
        self.details: dict[str, Any] = {"epoch": content["epoch"]} if "epoch" in content else {}

    def read_training(self, weights: str | None) -> None:
        """Read the encoder and the predictor, if there are any."""
        available = [key for key in ENCODERS if key in self.content]
        if weights is not None and weights not in available:
            raise CheckpointError(
                f"there are no weights '{weights}' in this file; there are: {', '.join(available) or 'none'}."
            )
        if not available:
            return
        predictor = self._state("predictor") if "predictor" in self.content else {}
        state = self._state(weights or available[0])
        positions = positions_of(state, predictor, self.overrides["encoder"])
        kind = kind_of(state, predictor, positions)
        selected = weights or next(key for key in (*kind.weights, *ENCODERS) if key in available)
        self.name, self.details["weights"] = f"{kind.name} training file", selected
        self.ignored += [key for key in available if key != selected]
        encoder = self._read_encoder(selected, positions)
        if is_action_predictor(predictor):
            self._read_action_predictor(predictor, encoder)
        elif predictor and positions == "sincos":
            self.ignored.append("predictor")
        elif predictor:
            self._read_masked_predictor(predictor, encoder)

    def _read_encoder(self, entry: str, positions: str) -> EncoderConfig:
        state = self._state(entry)
        config = encoder_config(state, positions, self.overrides["encoder"])
        if state[PATCHES].ndim == 4:
            state[PATCHES] = state[PATCHES].unsqueeze(2)
        with torch.device("meta"):  # shapes alone
            model = VideoEncoder(config)
        self._take("encoder", entry, state, model)
        self.configs["encoder"] = config
        return config

    def _read_masked_predictor(self, state: State, encoder: EncoderConfig) -> None:
        found = infer_masked_predictor(state, encoder.embed_dim, encoder.positions)
        if not self._known_heads(found):
            return
        config = build_config(MaskedPredictorConfig, found, self.overrides["predictor"])
        with torch.device("meta"):
            model = MaskedPredictor(config, encoder.embed_dim)
        self._take("masked_predictor", "predictor", state, model)
        self.configs["masked_predictor"] = config

    def _read_action_predictor(self, state: State, encoder: EncoderConfig) -> None:
        found = infer_action_predictor(state)
        if not self._known_heads(found):
            return
        config = build_config(ActionPredictorConfig, found, self.overrides["predictor"])
        robot = infer_embodiment(state, self.own.get("embodiment"))
        world = world_model_config(encoder, config, robot)
        with torch.device("meta"):
            model = ActionPredictor(config, encoder.embed_dim, world.grid, world.embodiments)
        named = add_embodiment(state, robot, self.own.get("bounds", {}))
        self._take("predictor", "predictor", named, model)
        self.configs["world_model"] = world

    def _known_heads(self, found: dict[str, Any]) -> bool:
        if "num_heads" in {**found, **self.overrides["predictor"]}:
            return True
        self.name += (
            f" without its predictor (width {found['embed_dim']} is not a known one, and its heads cannot be inferred: "
            "give predictor={'num_heads': ...})"
        )
        self.ignored.append("predictor")
        return False

    def read_probe(self, number: int) -> None:
        """Read one of the probes, if there are any."""
        if "classifiers" in self.content:
            probes = self.content["classifiers"]
        elif "classifier" in self.content:
            probes = [self.content["classifier"]]
        else:
            return
        if not 0 <= number < len(probes):
            raise CheckpointError(
                f"there is no classifier {number} in this file; there are {len(probes)}, counted from 0."
            )
        state = self._checked(f"classifiers.{number}", probes[number])
        if UNUSED_PROJECTION in state and "pooler.blocks.0.norm1.weight" in state:
            raise CheckpointError(
                "the probe is one of V-JEPA 1 with several blocks, which follow the cross-attention there and precede "
                "it here; of V-JEPA 1, only probes of one block are read."
            )
        config = build_config(ProbeConfig, infer_probe(state), self.overrides["probe"])
        with torch.device("meta"):
            model = AttentiveProbe(config)
        self._take("probe", f"classifiers.{number}", state, model)
        self.configs["probe"] = config
        self.details["classifier"] = number
        self.ignored += [f"classifiers.{other}" for other in range(len(probes)) if other != number]
        self.name = f"{self.name} and attentive probe" if self.name else "attentive probe file"

    def _state(self, entry: str) -> State:
        return self._checked(entry, self.content[entry])

    def _checked(self, entry: str, state: Any) -> State:
        if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
            raise CheckpointError(
                f"the entry '{entry}' is not a dictionary of tensors; expected a state dict."
            )
        return strip_prefixes(state)

    def _take(self, part: str, entry: str, state: State, model: nn.Module) -> None:
        used, left = match_tensors(entry, state, model)
        self.tensors[part] = used
        self.ignored += [f"{entry}.{name}" for name in left]

    def checkpoint(self, source: Path) -> Checkpoint:
        """Return the checkpoint, including the notes of our writer."""
        if "labels" in self.own:
            self.details["labels"] = self.own["labels"]
        return Checkpoint(
            format="meta",
            name=self.name,
            source=source,
            tensors=self.tensors,
            ignored=tuple(self.ignored),
            details=self.details,
            **self.configs,
        )
