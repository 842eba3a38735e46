"""How probes are trained, in words. Free of torch, so that help is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vjepa_world.config.ranges import THREADS, WORKERS
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.training.engine.config import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class ProbeTrainerConfig:
    """How long, how large and how fast all probes of a sweep are trained side by side.

    Attributes:
        steps: Optimizer steps of the whole run.
        batch_size: Clips a step.
        precision: auto (bfloat16 where the hardware has units for it, else float32), float32 or bfloat16.
        checkpoint_every: Steps between looks at the validation videos, each with a checkpoint.
        warmup: Share of the run in which the learning rates rise.
        cooldown: Share of the run in which they fall to zero.
        log_every: Steps between lines in metrics.jsonl.
        encode_batch_size: Clips that go through the frozen encoder at once.
        workers: Processes that decode.
        threads: Threads of torch; 0 takes one a core.
    """

    steps: int = 1000
    batch_size: int = 32
    precision: str = "auto"
    checkpoint_every: int = 200
    warmup: float = 0.05
    cooldown: float = 0.95
    log_every: int = 20
    encode_batch_size: int = 8
    workers: int = field(default=1, metadata=WORKERS)
    threads: int = field(default=0, metadata=THREADS)

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "checkpoint_every", "log_every", "encode_batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"trainer.{name} is {getattr(self, name)}; it must be at least 1.")
        if self.precision not in PRECISIONS:
            known = nearest(self.precision, PRECISIONS)
            raise ConfigError(f"trainer.precision '{self.precision}' is not known; {known}")
        for name in ("warmup", "cooldown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"trainer.{name} is {getattr(self, name)}; it is a share of the run, from 0 to 1."
                )


@dataclass(frozen=True)
class Setting:
    """What differs between the probes of a sweep: peak learning rate and weight decay (of matrices only)."""

    lr: float
    weight_decay: float

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"lr{self.lr:g}_wd{self.weight_decay:g}"


def settings(lrs: tuple[float, ...], weight_decays: tuple[float, ...]) -> tuple[Setting, ...]:
    """Return every pair of a learning rate and a weight decay.

    Raises:
        ConfigError: If there are none, one is out of range, or one stands twice.
    """
    for key, values in (("lrs", lrs), ("weight_decays", weight_decays)):
        if not values or len(set(values)) < len(values):
            raise ConfigError(f"{key} is {list(values)}; give at least one, each once: {key}=[1e-4,1e-3].")
    wrong = [lr for lr in lrs if not 0 < lr < math.inf]
    if wrong:
        raise ConfigError(f"lrs has {wrong[0]}; a learning rate is positive.")
    wrong = [decay for decay in weight_decays if not 0 <= decay < math.inf]
    if wrong:
        raise ConfigError(f"weight_decays has {wrong[0]}; a weight decay is at least 0.")
    return tuple(Setting(lr, decay) for lr in lrs for decay in weight_decays)
