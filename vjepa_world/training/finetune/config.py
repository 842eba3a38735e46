"""What fine-tuning minimises, in words. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vjepa_world.errors import ConfigError

Distance = Literal["l1", "l2", "smooth_l1", "cosine"]


@dataclass(frozen=True, kw_only=True)
class FinetuneObjective:
    """V-JEPA 2-AC's objective: teacher forcing and a rollout; with weight on what moves.

    Attributes:
        loss: Distance between a predicted and a true token: l1 (V-JEPA 2-AC), l2, smooth_l1 or cosine.
        rollout: Steps of the rollout that is added to teacher forcing (V-JEPA 2-AC: 2); 1 adds nothing.
        rollout_ramp: Share of the run over which the rollout grows from 1 to `rollout` steps; 0 begins with all.
        motion_share: 0 counts all tokens alike (V-JEPA 2-AC); towards 1 the loss is about the tokens that change.
        state: Weight of the predicted states' error (predictor.predict_state), in standard deviations.
        reconstruct: Weight of reading the frozen features back out of learned tokens (latents.kind=queries).
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
