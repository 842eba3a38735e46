"""Train probes on a frozen encoder: from labelled videos or features in memory to the best probe and its metrics.

Legend: M clips, N tokens per clip, D width, K numbers that are regressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vjepa_world.errors import ConfigError
from vjepa_world.files.atomic import write_json_atomic
from vjepa_world.models.encoder import VideoEncoder
from vjepa_world.models.encoders.registered import RegisteredEncoder
from vjepa_world.models.probe import Probe
from vjepa_world.ops.clip_input import ClipInput
from vjepa_world.pretrained import load_encoder, read_checkpoint
from vjepa_world.pretrained.probes import CLASSIFICATION, REGRESSION, SavedProbe, probe_files, weights_digest
from vjepa_world.runs import RESULT_FILE, open_run, provenance
from vjepa_world.system.device import resolve_device, resolve_precision, set_threads
from vjepa_world.training.probe.clip_features import encode_clips
from vjepa_world.training.probe.config import ProbeRunConfig, settings
from vjepa_world.training.probe.data import ProbeData, clips_of
from vjepa_world.training.probe.loop import ProbeFiles, train_sweep
from vjepa_world.training.probe.results import summary
from vjepa_world.training.probe.sources import (
    LabelledClips,
    Sampling,
    check_target,
    open_episodes,
    open_videos,
)
from vjepa_world.training.probe.sweep import ProbeSweep

#: Clips of an episode, where data.clips does not say.
EPISODE_CLIPS = 8

#: Settings that may differ when a run is resumed: how long, how fast and where.
_MAY_CHANGE = ("trainer.", "device", "cache", "data.max_bad_fraction")


@dataclass(frozen=True, kw_only=True)
class ProbeResult:
    """What the training of probes gives.

    Attributes:
        folder: The run folder: checkpoints, `metrics.jsonl`, `result.json`. `load_probe(folder)` loads the probe.
        probe: The probe that is best on the validation videos, on the CPU; numbers are in the data's units.
        metrics: What `result.json` holds: `test` with the metrics on the test videos, `validation` of every setting,
            and the `chosen` setting.
    """

    folder: Path
    probe: Probe
    metrics: dict[str, Any]


def train_probe(
    config: ProbeRunConfig, *, data: ProbeData | None = None, folder: str | Path | None = None
) -> ProbeResult:
    """Encode labelled clips once, train a probe for every setting, and test the best one.

    All randomness comes from `config.seed`; the state of the global generators is not changed.

    Args:
        config: The encoder, the labelled data, the probes and the trainer.
        data: Features in memory with their targets (:func:`vjepa_world.training.probe.data.probe_data`), instead of
            `config.encoder` and `config.data`.
        folder: The run folder; None for `runs/probe/NAME` with `config.name`, or the date and time.

    Raises:
        ConfigError: If the configuration contradicts itself.
        DataError: If the data cannot be used.
        RunError: If the run folder exists already, or is to be resumed and does not exist.
        TrainingError: If the probes of all settings diverge.
        CheckpointError: If a checkpoint cannot be read or written.
    """
    device = resolve_device(config.device)
    set_threads(config.trainer.threads)
    encoder, labelled, num_heads = None, None, None
    if data is None:
        # All that can fail early fails before the run has a folder.
        _check_given(config)
        encoder = load_encoder(config.encoder, device=device)
        num_heads = encoder.config.num_heads
        labelled = open_labelled_clips(config, encoder)
        config.probe.config(encoder.config.embed_dim, num_heads, len(labelled.labels))
    with open_run("probe", config, folder=folder, may_change=_MAY_CHANGE, outputs=(RESULT_FILE,)) as run:
        if encoder is not None and labelled is not None:
            data = encode_labelled_clips(config, encoder, labelled)
        assert data is not None
        files = _ProbeFiles(config, data, encoder, labelled)
        return _train(config, run, data, files, device, num_heads)


def _train(
    config: ProbeRunConfig,
    folder: Path,
    data: ProbeData,
    files: ProbeFiles,
    device: torch.device,
    num_heads: int | None,
) -> ProbeResult:
    """Train the sweep, and write `result.json`."""
    sweep = ProbeSweep(
        config.probe.config(data.features.shape[-1], num_heads, data.outputs),
        settings(config.lrs, config.weight_decays),
        data,
        seed=config.seed,
        device=device,
        precision=config.trainer.precision,
    )
    trials = train_sweep(sweep, config.trainer, folder, files, seed=config.seed, resume=config.resume)
    metrics = {
        "encoder": config.encoder,
        "data": config.data.path,
        "target": config.target,
        "probe": config.probe.kind,
        **summary(sweep, trials, config.trainer.batch_size, config.seed),
    }
    write_json_atomic(folder / RESULT_FILE, metrics)
    return ProbeResult(folder=folder, probe=sweep.probe(sweep.best(trials)), metrics=metrics)


def _check_given(config: ProbeRunConfig) -> None:
    for key, value, example in (
        ("encoder", config.encoder, "encoder=runs/pretrain/first"),
        ("data.path", config.data.path, "data.path=FOLDER"),
    ):
        if not value:
            raise ConfigError(f"'{key}' is not given and has no default: give {example}")


def open_labelled_clips(config: ProbeRunConfig, encoder: VideoEncoder) -> LabelledClips:
    """Return the labelled clips as the encoder takes them; nothing is decoded yet.

    Raises:
        ConfigError: If the clips do not divide into the encoder's tubelets and patches.
        DataError: If the data cannot be used.
    """
    data = config.data
    episodes = check_target(data.path, config.target)
    defaults = (
        (1, 0.0, EPISODE_CLIPS) if episodes else (encoder.config.num_frames, encoder.preprocessing.crop, 1)
    )
    given = (data.frames, data.crop, data.clips)
    frames, crop, clips = (
        default if value is None else value for value, default in zip(given, defaults, strict=True)
    )
    shown = ClipInput(frames=int(frames), fps=data.fps, crop=crop, image_size=encoder.preprocessing.size)
    encoder.token_grid(torch.empty(1, shown.frames, 3, *2 * (shown.image_size,), device="meta"))
    sampling = Sampling(shown, int(clips), data.val_fraction, data.test_fraction, config.seed)
    if episodes:
        return open_episodes(data.path, config.target, sampling)
    return open_videos(data.path, sampling, data.max_bad_fraction)


def encode_labelled_clips(
    config: ProbeRunConfig, encoder: VideoEncoder, labelled: LabelledClips
) -> ProbeData:
    """Return the clips' features with their targets, without the videos that turn out unreadable.

    Raises:
        DataError: If too many videos are unreadable.
    """
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
    clips = clips_of(groups, labelled.split, sorted(found.bad))
    return ProbeData(found.features, labelled.targets, groups, labelled.labels, clips)


class _ProbeFiles:
    """Makes a probe's checkpoint: its weights, the meaning of its outputs and the input of its encoder."""

    def __init__(
        self,
        config: ProbeRunConfig,
        data: ProbeData,
        encoder: VideoEncoder | None = None,
        labelled: LabelledClips | None = None,
    ) -> None:
        self.provenance = provenance("probe", config)
        self.about: dict[str, Any] = {
            "task": CLASSIFICATION if data.is_classification else REGRESSION,
            "labels": data.labels,
        }
        if encoder is None or labelled is None:
            return
        if not isinstance(encoder, RegisteredEncoder):
            self.provenance["encoder"] = read_checkpoint(config.encoder).details.get("provenance", {})
        self.about |= {
            "encoder": config.encoder,
            "encoder_digest": weights_digest(encoder),
            "shown": labelled.clips.shown,
            "clips": 1 if config.data.clips is None or config.target else config.data.clips,
        }

    def __call__(self, probe: Probe) -> dict[str, Any]:
        return probe_files(SavedProbe(probe=probe, **self.about), self.provenance)
