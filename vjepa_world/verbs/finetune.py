"""`finetune`: learn, in the features of a frozen encoder, what the robot's actions do."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import ActionPredictorConfig, EncoderConfig
from vjepa_world.runs import run_folder
from vjepa_world.training.config import FinetuneObjective, TrainerConfig
from vjepa_world.verbs.common import provenance

if TYPE_CHECKING:
    from vjepa_world.models.world_model import LatentWorldModel

logger = logging.getLogger(__name__)

#: Encoders that are no checkpoint: the controls.
UNTRAINED, PIXELS = "untrained", "pixels"


@dataclass(frozen=True, kw_only=True)
class TrajectoryDataConfig:
    """Where trajectories come from and how windows are cut.

    Attributes:
        path: A LeRobotDataset v3.0 folder.
        frames: Frames of a training window.
        val_fraction: Share of the episodes, the last ones, that is held out.
        max_bad_fraction: Share of unreadable episodes above which the run stops.
    """

    path: str = field(metadata={"example": "data.path=runs/collect/first"})
    frames: int = 3
    val_fraction: float = 0.05
    max_bad_fraction: float = 0.2

    def __post_init__(self) -> None:
        if self.frames < 2:
            raise ConfigError(f"data.frames is {self.frames}; a window needs at least 2 frames.")
        for name in ("val_fraction", "max_bad_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"data.{name} is {getattr(self, name)}; it is a share, from 0 to below 1.")


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to learn from.

    Attributes:
        name: The run goes to runs/finetune/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        encoder: A pretrain run or checkpoint folder; or a control, untrained or pixels.
        pool: Tokens averaged along each side before the predictor; 1 keeps them all.
        data: The trajectories.
        model: The encoder's architecture, for the controls alone; a checkpoint brings its own.
        predictor: The action-conditioned predictor.
        objective: What is minimised.
        trainer: How long and how fast.
    """

    name: str = ""
    seed: int = 0
    resume: bool = False
    device: str = "auto"
    encoder: str = field(metadata={"example": "encoder=runs/pretrain/first"})
    pool: int = 2
    data: TrajectoryDataConfig
    model: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: ActionPredictorConfig = field(default_factory=ActionPredictorConfig)
    objective: FinetuneObjective = field(default_factory=FinetuneObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.objective.rollout >= self.data.frames and self.objective.rollout > 1:
            raise ConfigError(
                f"objective.rollout {self.objective.rollout} needs windows of {self.objective.rollout + 1} frames, "
                f"data.frames is {self.data.frames}; raise it or lower the rollout."
            )


def run(config: Config) -> None:
    """Encode the dataset once, train the predictor, and say where it is."""
    from vjepa_world.data.trajectories.lerobot import LeRobotDataset
    from vjepa_world.training.finetune import FinetuneTask
    from vjepa_world.training.frozen_features import encode_dataset
    from vjepa_world.training.hardware import resolve_device, set_threads
    from vjepa_world.training.trainer import Trainer

    device = resolve_device(config.device)
    dataset = LeRobotDataset(config.data.path)
    set_threads(config.trainer.threads)
    model = build_model(config, len(dataset.action_names), len(dataset.state_names)).to(device)
    folder = run_folder("finetune", config.name, config.resume, config=config)
    data = encode_dataset(
        dataset,
        model.encode_frames,
        workers=config.trainer.workers,
        max_bad_fraction=config.data.max_bad_fraction,
    )
    task = FinetuneTask(
        model,
        data,
        frames=config.data.frames,
        val_fraction=config.data.val_fraction,
        objective=config.objective,
        trainer=config.trainer,
        seed=config.seed,
        device=device,
        provenance=provenance("finetune", config) | _origins(config),
    )
    Trainer(task, config.trainer, folder, device).fit(config.resume)
    print(f"world model in {folder}; try it with: vjepa-world evaluate checkpoint={folder}")


def _origins(config: Config) -> dict[str, Any]:
    """Return where the encoder and the data come from, as far as their folders tell."""
    from omegaconf import OmegaConf

    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.runs import CONFIG_FILE

    origins: dict[str, Any] = {}
    if config.encoder not in (UNTRAINED, PIXELS):
        checkpoint = read_checkpoint(config.encoder)
        origins["encoder"] = checkpoint.details.get("provenance", f"{checkpoint.name}: {config.encoder}")
    recorded = Path(config.data.path) / CONFIG_FILE
    if recorded.is_file():
        origins["data"] = OmegaConf.to_container(OmegaConf.load(recorded))
    return origins


def build_model(config: Config, action_dim: int, state_dim: int) -> LatentWorldModel:
    """Return the world model with its frozen encoder and a new predictor.

    Raises:
        CheckpointError: If the encoder is neither a checkpoint nor a control.
    """
    import torch

    from vjepa_world.models.config import WorldModelConfig
    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.pretrained import load_encoder

    if config.encoder == PIXELS:
        encoder = None
    elif config.encoder == UNTRAINED:
        encoder = untrained_encoder(config.model, config.seed)
    else:
        try:
            encoder = load_encoder(config.encoder)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} Or take a control: encoder={UNTRAINED} or encoder={PIXELS}."
            ) from error
    torch.manual_seed(config.seed)
    model = LatentWorldModel(
        WorldModelConfig(
            encoder=encoder.config if encoder else config.model,
            predictor=config.predictor,
            encoder_kind="vjepa" if encoder else "pixels",
            pool=config.pool,
            action_dim=action_dim,
            state_dim=state_dim,
        )
    )
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
    return model
