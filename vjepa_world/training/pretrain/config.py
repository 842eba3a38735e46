"""The configuration of a pretraining run. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from vjepa_world.config.ranges import SEED
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.pretrain.objectives.config import JEPAConfig, ObjectiveConfig
from vjepa_world.training.pretrain.objectives.registry import OBJECTIVES
from vjepa_world.training.pretrain.online_probe_config import OnlineProbeConfig


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """A pretraining run.

    Attributes:
        name: The run goes to runs/pretrain/NAME.
        seed: Seed of all randomness.
        resume: Go on with a run that was stopped.
        init: A run whose weights this one starts from (a cool-down with longer clips or larger images).
        device: auto, cpu, cuda or cuda:N.
        data: The videos, and how clips are cut.
        model: The encoder.
        predictor: The masked predictor, which is not used after pretraining.
        objective: What is minimised.
        trainer: Steps, batch size, optimizer and schedules.
        probe: A probe of the features during the training, where there is labelled data.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    init: str = ""
    device: str = "auto"
    data: VideoDataConfig = field(default_factory=VideoDataConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    objective: Annotated[ObjectiveConfig, OBJECTIVES] = field(default_factory=JEPAConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    probe: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)
