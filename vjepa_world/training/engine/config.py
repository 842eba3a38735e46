"""The trainer's options. Free of torch, so that help is quick."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vjepa_world.config.ranges import PATIENCE_S, THREADS, WEIGHT, WORKERS
from vjepa_world.errors import ConfigError, nearest

PRECISIONS = ("auto", "float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """Steps, batch size, precision, checkpoints, optimizer, schedules and processes.

    Attributes:
        steps: Optimizer steps of the whole run.
        batch_size: Clips (or windows) a step, over all processes.
        precision: auto (bfloat16 where the hardware has units for it, else float32), float32 or bfloat16.
        checkpoint_every: Steps between checkpoints.
        keep_last: Checkpoints that stay, the newest ones.
        keep_every: Checkpoints at multiples of this many steps are kept too; 0: only the last ones.
        lr: Peak learning rate.
        lr_start: Learning rate that the warm-up starts from.
        lr_end: Learning rate at the end.
        schedule: warmup_constant_cooldown, or cosine (warm-up, then a half-cosine to the end).
        warmup: Share of the run in which the learning rate rises.
        cooldown: Share of the run in which it falls (warmup_constant_cooldown).
        cooldown_shape: How it falls: cosine or linear.
        weight_decay: AdamW's weight decay, of matrices only.
        weight_decay_end: What it goes to, along a half-cosine; below 0 it stays.
        betas: AdamW's two decay rates.
        clip_norm: Largest norm of the gradients; 0 does not clip, as V-JEPA 2.
        accumulate: Micro-batches that a batch is split into, one graph in memory at a time.
        recompute: Compute activations again in the backward pass, for memory.
        compile: Compile the transformers' blocks.
        parallel: With several processes: ddp (each has all weights) or fsdp (each has a shard).
        timeout_s: How long processes wait for each other, at the start and in a step, before the job stops [s].
        log_every: Steps between lines in metrics.jsonl.
        workers: Worker processes that decode.
        threads: Threads of torch; 0 takes one a core.
    """

    steps: int = 1000
    batch_size: int = 24
    precision: str = "auto"
    checkpoint_every: int = 200
    keep_last: int = 2
    keep_every: int = 0
    lr: float = 1e-3
    lr_start: float = 0.0
    lr_end: float = 0.0
    schedule: Literal["warmup_constant_cooldown", "cosine"] = "warmup_constant_cooldown"
    warmup: float = 0.08
    cooldown: float = 0.3
    cooldown_shape: Literal["cosine", "linear"] = "cosine"
    weight_decay: float = 0.04
    weight_decay_end: float = field(default=-1.0, metadata=WEIGHT)
    betas: tuple[float, float] = (0.9, 0.95)
    clip_norm: float = 0.0
    accumulate: int = 1
    recompute: bool = False
    compile: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    timeout_s: float = field(default=1800.0, metadata=PATIENCE_S)
    log_every: int = 20
    workers: int = field(default=1, metadata=WORKERS)
    threads: int = field(default=0, metadata=THREADS)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "keep_last", "accumulate", "log_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.precision not in PRECISIONS:
            known = nearest(self.precision, PRECISIONS)
            raise ConfigError(f"trainer.precision '{self.precision}' is not known; {known}")
        if not self.lr > 0:
            raise ConfigError(f"trainer.lr is {self.lr}; it must be positive.")
        for name in ("lr_start", "lr_end", "clip_norm", "keep_every", "weight_decay"):
            if getattr(self, name) < 0:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}; it must be at least 0.")
        if not self.timeout_s > 0:
            raise ConfigError(f"trainer.timeout_s is {self.timeout_s}; it must be positive.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"trainer.betas is {self.betas}; both are from 0 to below 1.")
        for name in ("warmup", "cooldown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"trainer.{name} is {getattr(self, name)}; it is a share of the run, from 0 to 1."
                )
