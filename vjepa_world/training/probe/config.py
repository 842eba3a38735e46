"""The configuration of a probe run. Free of torch, so that help is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from vjepa_world.config.ranges import AT_LEAST_ONE, SEED, SHARE, THREADS, WORKERS
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import PROBE_KINDS, ProbeConfig
from vjepa_world.training.engine.config import PRECISIONS


@dataclass(frozen=True, kw_only=True)
class ProbeTrainerConfig:
    """Steps, batch size and schedule of a sweep of probes, which are trained together.

    Attributes:
        steps: Optimizer steps of the whole run.
        batch_size: Clips per step.
        precision: auto (bfloat16 where the hardware has units for it, else float32), float32 or bfloat16.
        checkpoint_every: Steps between validations, each with a checkpoint.
        warmup: Share of the run in which the learning rates rise.
        cooldown: Share of the run in which they fall to zero.
        log_every: Steps between lines in metrics.jsonl.
        encode_batch_size: Clips that are encoded at once.
        workers: Worker processes that decode.
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
    """Peak learning rate and weight decay (of matrices only) of one probe of a sweep."""

    lr: float
    weight_decay: float

    @property
    def name(self) -> str:
        """Its name in the log."""
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


@dataclass(frozen=True, kw_only=True)
class ProbeDataConfig:
    """The labelled videos, how clips are cut, and which videos choose and test.

    Attributes:
        path: A folder with one sub-folder per class, a CSV list with columns path and label, or a LeRobot dataset.
        fps: Frames per second that a clip shows.
        frames: Frames of a clip; null takes the encoder's number for videos, 1 for a dataset.
        crop: Share of the shorter side that a central square takes, 0 squeezes the whole frame; null takes 1 for
            videos, 0 for a dataset.
        clips: Clips of each video or episode, evenly spaced; null takes 1 for videos, 8 for a dataset.
        val_fraction: Share of the videos (of each class) that chooses between the settings.
        test_fraction: Share of the videos that the metrics are reported on.
        max_bad_fraction: Share of unreadable videos or episodes above which the run stops.
    """

    path: str = field(default="", metadata={"example": "FOLDER"})
    fps: float = field(default=4.0, metadata={"range": (1e-6, 1e6)})
    frames: int | None = field(default=None, metadata={"range": (1, 10**4)})
    crop: float | None = field(default=None, metadata=SHARE)
    clips: int | None = None
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    max_bad_fraction: float = 0.2

    def __post_init__(self) -> None:
        for name in ("val_fraction", "test_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"data.{name} is {getattr(self, name)}; it is a share, above 0 and below 1."
                )
        if self.val_fraction + self.test_fraction >= 1:
            raise ConfigError(
                f"data.val_fraction {self.val_fraction} and data.test_fraction {self.test_fraction} leave nothing to "
                "train on; lower either."
            )
        if not 0 <= self.max_bad_fraction <= 1:
            raise ConfigError(
                f"data.max_bad_fraction is {self.max_bad_fraction}; it is a share, from 0 to 1."
            )
        if self.clips is not None and self.clips < 1:
            raise ConfigError(f"data.clips is {self.clips}; it must be at least 1.")


@dataclass(frozen=True, kw_only=True)
class ProbeShape:
    """Architecture of the probes; the encoder and the data give their widths.

    Attributes:
        kind: attentive (self-attention blocks, then one query attends to all tokens) or linear (mean of the tokens).
        depth: Blocks of self-attention plus the one of cross-attention (attentive).
        num_heads: Attention heads (attentive); null takes the encoder's number.
        mlp_ratio: Hidden width of the MLPs over the width (attentive).
    """

    kind: str = "attentive"
    depth: int = field(default=4, metadata={"range": (1, 10**4)})
    num_heads: int | None = field(default=None, metadata=AT_LEAST_ONE)
    mlp_ratio: float = field(default=4.0, metadata={"range": (1e-6, 1e4)})

    def __post_init__(self) -> None:
        if self.kind not in PROBE_KINDS:
            raise ConfigError(f"probe.kind '{self.kind}' is not known; {nearest(self.kind, PROBE_KINDS)}")

    def unused(self) -> dict[str, str]:
        """Return what a linear probe does not have."""
        keys = ("depth", "num_heads", "mlp_ratio")
        return dict.fromkeys(keys, "probe.kind=linear") if self.kind == "linear" else {}

    def config(self, width: int, num_heads: int | None, outputs: int) -> ProbeConfig:
        """Return the architecture on features.

        Args:
            width: D, of the features.
            num_heads: The encoder's attention heads; None for heads of 64 channels, or one where these do not divide.
            outputs: Classes, or numbers.
        """
        usual = max(width // 64, 1) if width % 64 == 0 else 1
        heads = next(count for count in (self.num_heads, num_heads, usual) if count is not None)
        return ProbeConfig(
            kind=self.kind,
            embed_dim=width,
            num_heads=heads,
            depth=self.depth,
            mlp_ratio=self.mlp_ratio,
            num_outputs=outputs,
        )


@dataclass(frozen=True, kw_only=True)
class ProbeRunConfig:
    """A probe run.

    Attributes:
        name: The run goes to runs/probe/NAME.
        seed: Seed of all randomness.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        encoder: The frozen encoder: a run, a checkpoint of any format, a hub id, or a registered name.
        target: Column of a LeRobot dataset to regress, NAME, NAME[index] or NAME[from:to].
        lrs: Peak learning rates; a probe is trained for each.
        weight_decays: Weight decays, each with every learning rate.
        cache: Folder of cached features; a run on the same clips and weights reads them.
        data: The labelled videos or episodes.
        probe: The architecture of the probes.
        trainer: Steps, batch size and schedule.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    encoder: str = field(default="", metadata={"example": "runs/pretrain/first"})
    target: str = ""
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    weight_decays: tuple[float, ...] = (0.01, 0.1)
    cache: str = "runs/features"
    data: ProbeDataConfig = field(default_factory=ProbeDataConfig)
    probe: ProbeShape = field(default_factory=ProbeShape)
    trainer: ProbeTrainerConfig = field(default_factory=ProbeTrainerConfig)

    def __post_init__(self) -> None:
        settings(self.lrs, self.weight_decays)
