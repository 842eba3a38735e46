"""`probe`: what a frozen encoder's features tell, measured on videos or episodes that were held out."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.common import provenance
from vjepa_world.config.ranges import AT_LEAST_ONE, SEED, SHARE
from vjepa_world.errors import ConfigError, nearest
from vjepa_world.models.config import PROBE_KINDS
from vjepa_world.reports.probe import sentence, summary
from vjepa_world.runs import open_run
from vjepa_world.training.probe.config import ProbeTrainerConfig, settings

if TYPE_CHECKING:
    from vjepa_world.models.config import EncoderConfig, ProbeConfig
    from vjepa_world.models.encoder import VideoEncoder
    from vjepa_world.models.probe import Probe
    from vjepa_world.training.probe.data import ProbeData
    from vjepa_world.training.probe.sources import LabelledClips

#: Clips of an episode, where data.clips does not say.
EPISODE_CLIPS = 8

#: What a resumed run may be told other than before: how long, how fast and where.
MAY_CHANGE = ("trainer.", "device", "cache", "data.max_bad_fraction")


@dataclass(frozen=True, kw_only=True)
class ProbeDataConfig:
    """Where labelled videos come from, how clips are cut, and which videos choose and test.

    Attributes:
        path: A folder with one sub-folder a class, a CSV list with columns path and label, or a LeRobot dataset.
        fps: Frames a second that a clip shows.
        frames: Frames of a clip; null takes the encoder's number for videos, 1 for a dataset.
        crop: Share of the shorter side that a central square takes, 0 squeezes the whole frame; null takes 1 for
            videos, 0 for a dataset.
        clips: Clips of each video or episode, evenly spaced; null takes 1 for videos, 8 for a dataset.
        val_fraction: Share of the videos (of each class) that chooses between the settings.
        test_fraction: Share of the videos that the figures are reported on.
        max_bad_fraction: Share of unreadable videos or episodes above which the run stops.
    """

    path: str = field(metadata={"example": "data.path=FOLDER"})
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

    def config(self, encoder: EncoderConfig, outputs: int) -> ProbeConfig:
        """Return the architecture on an encoder's features."""
        from vjepa_world.models.config import ProbeConfig

        return ProbeConfig(
            kind=self.kind,
            embed_dim=encoder.embed_dim,
            num_heads=encoder.num_heads if self.num_heads is None else self.num_heads,
            depth=self.depth,
            mlp_ratio=self.mlp_ratio,
            num_outputs=outputs,
        )


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to read off which features.

    Attributes:
        name: The run goes to runs/probe/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        encoder: A pretrain or finetune run, a checkpoint of any format, or a hub id; it stays frozen.
        target: Column of a LeRobot dataset to regress, NAME, NAME[place] or NAME[from:to].
        lrs: Peak learning rates, all trained side by side.
        weight_decays: Weight decays, each with every learning rate.
        cache: Folder where features are kept; a run on the same clips and weights finds them there.
        data: The labelled videos or episodes.
        probe: The probes.
        trainer: How long and how fast.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    encoder: str = field(metadata={"example": "encoder=runs/pretrain/first"})
    target: str = ""
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    weight_decays: tuple[float, ...] = (0.01, 0.1)
    cache: str = "runs/features"
    data: ProbeDataConfig
    probe: ProbeShape = field(default_factory=ProbeShape)
    trainer: ProbeTrainerConfig = field(default_factory=ProbeTrainerConfig)

    def __post_init__(self) -> None:
        settings(self.lrs, self.weight_decays)


def run(config: Config) -> None:
    """Encode the clips once, train all probes, and report the best one's figures on the test videos."""
    from vjepa_world.pretrained import load_encoder
    from vjepa_world.system.device import resolve_device, set_threads

    device = resolve_device(config.device)
    set_threads(config.trainer.threads)
    encoder = load_encoder(config.encoder, device=device)
    labelled = open_data(config, encoder)
    shape = config.probe.config(encoder.config, len(labelled.labels))
    with open_run("probe", config, may_change=MAY_CHANGE, outputs=("result.json",)) as folder:
        result = _measure(config, folder, encoder, labelled, shape)
    print(sentence(result))
    print(f"probe in {folder}; try it with: vjepa-world predict VIDEO --probe {shlex.quote(str(folder))}")


def _measure(
    config: Config, folder: Path, encoder: VideoEncoder, labelled: LabelledClips, shape: ProbeConfig
) -> dict[str, Any]:
    """Encode, train and write `result.json`; return what it holds."""
    from vjepa_world.runs import write_json_atomic
    from vjepa_world.training.probe.loop import train_sweep
    from vjepa_world.training.probe.probing import ProbeSweep

    data = encode(config, encoder, labelled)
    sweep = ProbeSweep(
        shape,
        settings(config.lrs, config.weight_decays),
        data,
        seed=config.seed,
        device=next(encoder.parameters()).device,
        precision=config.trainer.precision,
    )
    files = _Files(config, encoder, labelled)
    trials = train_sweep(sweep, config.trainer, folder, files, seed=config.seed, resume=config.resume)
    result = summary(sweep, trials, config.trainer.batch_size, config.seed)
    result = {
        "encoder": config.encoder,
        "data": config.data.path,
        "target": config.target,
        "probe": config.probe.kind,
        **result,
    }
    write_json_atomic(folder / "result.json", result)
    return result


def open_data(config: Config, encoder: VideoEncoder) -> LabelledClips:
    """Return the labelled clips; raises before anything is written if there is something wrong with them."""
    import torch

    from vjepa_world.ops.clip_input import ClipInput
    from vjepa_world.training.probe.sources import Sampling, check_target, open_episodes, open_videos

    data = config.data
    episodes = check_target(data.path, config.target)
    standard = (1, 0.0, EPISODE_CLIPS) if episodes else (encoder.config.num_frames, 1.0, 1)
    given = (data.frames, data.crop, data.clips)
    frames, crop, clips = (
        usual if said is None else said for said, usual in zip(given, standard, strict=True)
    )
    shown = ClipInput(frames=int(frames), fps=data.fps, crop=crop, image_size=encoder.config.image_size)
    encoder.token_grid(torch.empty(1, shown.frames, 3, *2 * (shown.image_size,), device="meta"))
    sampling = Sampling(shown, int(clips), data.val_fraction, data.test_fraction, config.seed)
    if episodes:
        return open_episodes(data.path, config.target, sampling)
    return open_videos(data.path, sampling, data.max_bad_fraction)


def encode(config: Config, encoder: VideoEncoder, labelled: LabelledClips) -> ProbeData:
    """Return the clips in features, without the videos that turn out unreadable."""
    import torch

    from vjepa_world.system.device import resolve_precision
    from vjepa_world.training.probe.clip_features import encode_clips
    from vjepa_world.training.probe.data import ProbeData, clips_of

    found = encode_clips(
        labelled.clips,
        encoder,
        pooled=config.probe.kind == "linear",
        dtype=resolve_precision(config.trainer.precision, next(encoder.parameters()).device),
        batch_size=config.trainer.encode_batch_size,
        workers=config.trainer.workers,
        cache=Path(config.cache),
        max_bad_fraction=config.data.max_bad_fraction,
    )
    groups = torch.from_numpy(labelled.clips.groups)
    parts = clips_of(groups, labelled.split, sorted(found.bad))
    return ProbeData(found.features, labelled.targets, groups, labelled.labels, parts)


class _Files:
    """Makes a probe's checkpoint: its weights, what its outputs mean and what its encoder was shown."""

    def __init__(self, config: Config, encoder: VideoEncoder, labelled: LabelledClips) -> None:
        from vjepa_world.pretrained import read_checkpoint
        from vjepa_world.pretrained.probes import CLASSIFICATION, REGRESSION, weights_digest

        origin = read_checkpoint(config.encoder)
        self.provenance = provenance("probe", config) | {"encoder": origin.details.get("provenance", {})}
        self.about: dict[str, Any] = {
            "task": CLASSIFICATION if labelled.targets.ndim == 1 else REGRESSION,
            "labels": labelled.labels,
            "encoder": config.encoder,
            "encoder_digest": weights_digest(encoder),
            "shown": labelled.clips.shown,
            "clips": 1 if config.data.clips is None or config.target else config.data.clips,
        }

    def __call__(self, probe: Probe) -> dict[str, Any]:
        from vjepa_world.pretrained.probes import SavedProbe, probe_files

        return probe_files(SavedProbe(probe=probe, **self.about), self.provenance)
