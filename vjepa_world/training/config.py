"""What all training shares, in words. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from vjepa_world.errors import ConfigError, nearest

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How long, how large, how fast, and what is kept.

    Attributes:
        steps: Optimizer steps of the whole run.
        batch_size: Clips (or windows) a step.
        precision: auto (bfloat16 where the hardware has units for it, else float32), float32 or bfloat16.
        checkpoint_every: Steps between checkpoints.
        lr: Peak learning rate.
        weight_decay: AdamW's weight decay, of matrices only.
        warmup: Share of the run in which the learning rate rises.
        cooldown: Share of the run in which it falls to zero.
        log_every: Steps between lines in metrics.jsonl.
        workers: Processes that decode beside the training.
        threads: Threads of torch; 0 takes one a core.
    """

    steps: int = 1000
    batch_size: int = 24
    precision: str = "auto"
    checkpoint_every: int = 200
    lr: float = 1e-3
    weight_decay: float = 0.04
    warmup: float = 0.08
    cooldown: float = 0.3
    log_every: int = 20
    workers: int = 1
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.precision not in PRECISIONS:
            known = nearest(self.precision, PRECISIONS)
            raise ConfigError(f"trainer.precision '{self.precision}' is not known; {known}")
        if not self.lr > 0:
            raise ConfigError(f"trainer.lr is {self.lr}; it must be positive.")
        for name in ("warmup", "cooldown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"trainer.{name} is {getattr(self, name)}; it is a share of the run, from 0 to 1."
                )


@dataclass(frozen=True, kw_only=True)
class PretrainObjective:
    """V-JEPA 2's objective; the defaults are published ones, made for 16 x 16 tokens a frame.

    Attributes:
        short_blocks: Blocks that the short-range mask hides.
        short_scale: Share of the frame that each of them takes.
        long_blocks: Blocks that the long-range mask hides.
        long_scale: Share of the frame that each of them takes.
        ema: Momentum of the target encoder at the first and at the last step.
        image_fraction: Share of the steps that train on single frames (an image is a repeated frame).
        pair_fraction: Share of the steps that predict a frame from an earlier or later one and a few of its own tokens.
        pair_visible: Share of that frame's tokens that are seen.
        color_jitter: Largest random gain (1 +- this) and offset of each colour of a clip, in normalised units.
    """

    short_blocks: int = 8
    short_scale: float = 0.15
    long_blocks: int = 2
    long_scale: float = 0.7
    ema: tuple[float, float] = (0.99925, 0.99925)
    image_fraction: float = 0.25
    pair_fraction: float = 0.0
    pair_visible: float = 0.15
    color_jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("image_fraction", "pair_fraction", "color_jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"objective.{name} is {getattr(self, name)}; it is a share, from 0 to 1.")
        if self.image_fraction + self.pair_fraction > 1:
            raise ConfigError(
                f"objective.image_fraction {self.image_fraction} and objective.pair_fraction {self.pair_fraction} make "
                "more than 1; what they leave of the steps trains on clips."
            )
        if not 0 < self.pair_visible < 1:
            raise ConfigError(
                f"objective.pair_visible is {self.pair_visible}; it is a share above 0 and below 1."
            )
        for name in ("short", "long"):
            blocks, scale = getattr(self, f"{name}_blocks"), getattr(self, f"{name}_scale")
            if blocks < 1 or not 0 < scale < 1:
                raise ConfigError(
                    f"objective.{name}_blocks is {blocks} and objective.{name}_scale is {scale}; at least one block "
                    "of a share above 0 and below 1 is hidden."
                )
        if not 0 <= self.ema[0] <= self.ema[1] <= 1:
            raise ConfigError(f"objective.ema is {self.ema}; give two momenta with 0 <= first <= last <= 1.")


@dataclass(frozen=True, kw_only=True)
class FinetuneObjective:
    """V-JEPA 2-AC's objective, with weight on what moves.

    Attributes:
        rollout: Steps of the rollout that is added to teacher forcing; 1 adds nothing.
        motion_share: 0 counts all tokens alike; towards 1 the loss is about the tokens that change.
    """

    rollout: int = 2
    motion_share: float = 0.8

    def __post_init__(self) -> None:
        if self.rollout < 1:
            raise ConfigError(f"objective.rollout is {self.rollout}; it must be at least 1.")
        if not 0 <= self.motion_share <= 1:
            raise ConfigError(f"objective.motion_share is {self.motion_share}; it is a share, from 0 to 1.")
