"""The configuration of a fine-tuning run and of its objective. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Literal

from vjepa_world.config.ranges import SEED
from vjepa_world.data.trajectories.config import FeaturesConfig, TrajectoryDataConfig
from vjepa_world.errors import ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    GoalReaderConfig,
    InverseConfig,
    LatentsConfig,
)
from vjepa_world.training.engine.config import TrainerConfig

Distance = Literal["l1", "l2", "smooth_l1", "cosine"]

#: The controls: encoders that are not checkpoints.
UNTRAINED, PIXELS = "untrained", "pixels"


@dataclass(frozen=True, kw_only=True)
class FinetuneObjective:
    """V-JEPA 2-AC's objective: teacher forcing and a rollout; with weight on what moves.

    Attributes:
        loss: Distance between a predicted and a true token: l1 (V-JEPA 2-AC), l2, smooth_l1 or cosine.
        rollout: Steps of the rollout that is added to teacher forcing (V-JEPA 2-AC: 2); 1 adds nothing.
        rollout_ramp: Share of the run over which the rollout grows from 1 to `rollout` steps; 0 begins with all.
        motion_share: 0 weighs all tokens alike (V-JEPA 2-AC); towards 1 the loss is about the tokens that change.
        state: Weight of the predicted states' error (predictor.predict_state), in standard deviations.
        reconstruct: Weight of the reconstruction of the frozen features from learned tokens (latents.kind=queries).
    """

    loss: Distance = "l1"
    rollout: int = 2
    rollout_ramp: float = 0.0
    motion_share: float = 0.8
    state: float = 0.1
    reconstruct: float = 1.0

    def __post_init__(self) -> None:
        if self.rollout < 1:
            raise ConfigError(f"objective.rollout is {self.rollout}; it must be at least 1.")
        for name in ("motion_share", "rollout_ramp"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; it is a share, from 0 to 1.")
        for name in ("state", "reconstruct"):
            if getattr(self, name) < 0:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; it must be at least 0.")

    def rollout_at(self, progress: float) -> int:
        """Return the steps of the rollout at this share of the run."""
        if self.rollout_ramp == 0 or progress >= self.rollout_ramp:
            return self.rollout
        return 1 + int((self.rollout - 1) * progress / self.rollout_ramp)


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig:
    """A fine-tuning run.

    Attributes:
        name: The run goes to runs/finetune/NAME.
        seed: Seed of all randomness.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        encoder: A pretrain run, a checkpoint, a hub id or folder of transformers, a registered encoder,
            module:function; or a control, untrained or pixels.
        data: The trajectories.
        features: The cache of the frozen encoder's features.
        model: The encoder's architecture, for the controls only; a checkpoint brings its own.
        latents: How the encoder's tokens are reduced before the predictor.
        predictor: The action-conditioned predictor.
        inverse: Inverse model, from two frames' features to the actions between them; inverse.horizon=0 for none.
        goal_reader: Goal reader, from the present frame's and a goal's features to the robot's state at the goal;
            goal_reader.depth=0 for none.
        decoder: Decoder from features to small images, to look at; decoder.image_size=0 for none.
        objective: What is minimised.
        trainer: Steps, batch size, optimizer and schedules.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    encoder: str = field(default="", metadata={"example": "runs/pretrain/first"})
    data: TrajectoryDataConfig = field(default_factory=TrajectoryDataConfig)
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    latents: LatentsConfig = field(default_factory=LatentsConfig)
    predictor: ActionPredictorConfig = field(default_factory=ActionPredictorConfig)
    inverse: InverseConfig = field(default_factory=InverseConfig)
    goal_reader: GoalReaderConfig = field(default_factory=GoalReaderConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    objective: FinetuneObjective = field(default_factory=FinetuneObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.objective.rollout >= self.data.frames and self.objective.rollout > 1:
            raise ConfigError(
                f"objective.rollout {self.objective.rollout} needs windows of {self.objective.rollout + 1} frames, "
                f"data.frames is {self.data.frames}; raise it or lower the rollout."
            )
        if self.predictor.use_extrinsics and self.data.views == "all":
            raise ConfigError(
                "predictor.use_extrinsics takes one camera's pose, and data.views=all shows several; choose one."
            )

    def unused(self) -> dict[str, str]:
        """Return the keys that this run does not use, each with the choice that excludes it."""
        found: dict[str, str] = {}
        if self.encoder not in (UNTRAINED, PIXELS):
            found["model"] = "encoder=CHECKPOINT, which brings its own architecture,"
        if not self.features.cache:  # augmentation disables the cache with a warning
            keys = ("root", "folder", "limit_gb", "batch_frames")
            found |= {f"features.{key}": "features.cache=false" for key in keys}
        for part, size in (("inverse", "horizon"), ("goal_reader", "depth"), ("decoder", "image_size")):
            config = getattr(self, part)
            if not getattr(config, size):
                others = [entry.name for entry in fields(config) if entry.name != size]
                found |= {f"{part}.{key}": f"{part}.{size}=0" for key in others}
        kind = self.latents.kind
        if kind != "queries":
            keys = ("latents.embed_dim", "latents.depth", "latents.num_heads", "objective.reconstruct")
            found |= dict.fromkeys(keys, f"latents.kind={kind}")
        if kind == "none":
            found["latents.side"] = "latents.kind=none"
        if not self.predictor.predict_state:
            found["objective.state"] = "predictor.predict_state=false"
        if self.objective.rollout == 1:
            found["objective.rollout_ramp"] = "objective.rollout=1"
        return found

    @property
    def cached(self) -> bool:
        """Whether features come from the cache."""
        return self.features.cache and not self.data.needs_pixels
