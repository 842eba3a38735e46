"""What pretraining minimises, one method a module, chosen by `objective.kind`.

A method owns the modules that are trained and says, as parts, what a step adds up. Everything random is drawn for the
global batch (see :class:`.draw.StepDraw`), so no result depends on the number of processes.
"""

from __future__ import annotations

import torch

from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.objectives.contrastive import Contrastive
from vjepa_world.training.pretrain.objectives.draw import Part, StepDraw
from vjepa_world.training.pretrain.objectives.jepa import Jepa
from vjepa_world.training.pretrain.objectives.pixels import MaskedPixels
from vjepa_world.training.pretrain.objectives.protocol import Method

__all__ = ["Contrastive", "Jepa", "MaskedPixels", "Method", "Part", "StepDraw", "build_method"]


def build_method(
    encoder: EncoderConfig, predictor: MaskedPredictorConfig, objective: PretrainObjective, *, seed: int
) -> Method:
    """Return the method that `objective.kind` names, with the random weights that `seed` gives.

    Raises:
        ConfigError: If the architectures and the objective do not fit together.
        CheckpointError: If a teacher cannot be read.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if objective.kind == "pixels":
            return MaskedPixels(encoder, predictor, objective)
        if objective.kind == "contrastive":
            return Contrastive(encoder, objective)
        return Jepa(encoder, predictor, objective)
