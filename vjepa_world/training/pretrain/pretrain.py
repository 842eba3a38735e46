"""Pretrain a video encoder: from a configuration and videos to a trained encoder and its run folder."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vjepa_world.data.loading.arrays import ArrayClips
from vjepa_world.data.loading.loader import ClipLoader, ClipSource
from vjepa_world.data.loading.mixture import ClipMixture
from vjepa_world.data.training_record import all_episodes, training_record
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.errors import CheckpointError, DataError
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.runs import provenance, read_metrics
from vjepa_world.system.device import set_threads, training_device
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.training.engine.checkpoint import load_modules
from vjepa_world.training.engine.distributed import Ranks, process_group
from vjepa_world.training.engine.run_folder import MAY_CHANGE, shared_run
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.pretrain.collapse import CollapseAlarm, Recipe
from vjepa_world.training.pretrain.config import PretrainConfig
from vjepa_world.training.pretrain.objectives.protocol import Objective
from vjepa_world.training.pretrain.objectives.registry import build_objective
from vjepa_world.training.pretrain.online_probe import OnlineProbe, open_online_probe
from vjepa_world.training.pretrain.task import PretrainTask

logger = logging.getLogger(__name__)

#: Settings that may differ when a pretraining is resumed; how clips are loaded changes none of them.
_MAY_CHANGE = (*MAY_CHANGE, "init", "data.memory_gb", "data.open_videos", "data.decode_device")


@dataclass(frozen=True, kw_only=True)
class PretrainResult:
    """What a pretraining gives.

    Attributes:
        folder: The run folder: checkpoints, `metrics.jsonl`, `config.yaml`. `load_encoder(folder)` loads the encoder.
        encoder: The trained encoder (of an EMA objective the moving average), in evaluation mode, on the training
            device. With `trainer.parallel=fsdp` it is sharded: load it from `folder` instead.
        is_main: Whether this is the main process; always so where one process trains.
    """

    folder: Path
    encoder: VideoEncoder
    is_main: bool

    def metrics(self) -> list[dict[str, float]]:
        """Return the logged metrics, one dictionary per logged step."""
        return read_metrics(self.folder)


def pretrain(
    config: PretrainConfig, *, videos: Sequence[Tensor] | None = None, folder: str | Path | None = None
) -> PretrainResult:
    """Pretrain an encoder, in one process or as one of several that `torchrun` started.

    All randomness comes from `config.seed`; the state of the global generators is not changed.

    Args:
        config: The data, the model, the objective and the trainer.
        videos: Videos in memory instead of `config.data.path`: uint8 `[T, 3, H, W]` each, at the rate that is to be
            trained on, T >= `config.model.num_frames`, or T = 1 for an image.
        folder: The run folder; None for `runs/pretrain/NAME` with `config.name`, or the date and time.

    Raises:
        ConfigError: If the configuration contradicts itself.
        DataError: If the data cannot be used.
        RunError: If the run folder exists already, or is to be resumed and does not exist.
        TrainingError: If the loss or a gradient is not finite.
        CheckpointError: If a checkpoint cannot be read or written.
    """
    device = training_device(config.device)
    set_threads(config.trainer.threads)
    with process_group(device, config.trainer.timeout_s) as ranks:
        # All that can fail early fails before the run has a folder.
        objective = build_objective(config.model, config.predictor, config.objective, seed=config.seed)
        if config.init and not config.resume:
            _load_initial_weights(config.init, objective)
        clips = open_clips(config, views=objective.views, videos=videos)
        _refuse_large_batches(config, clips, ranks, device)
        probe = _open_probe(config)
        with shared_run("pretrain", config, ranks, folder=folder, may_change=_MAY_CHANGE) as run:
            task = PretrainTask(
                _loader(config, clips, ranks, device, run),
                objective,
                config.objective,
                config.trainer,
                seed=config.seed,
                device=device,
                provenance=provenance("pretrain", config) | _episodes_of(clips),
                probe=probe,
                probe_every=config.probe.every,
                alarm=CollapseAlarm(Recipe.of(config.objective), read_metrics(run)),
            )
            Trainer(task, config.trainer, run, device).fit(config.resume)
    encoder = objective.frozen.requires_grad_(False).eval()
    return PretrainResult(folder=run, encoder=encoder, is_main=ranks.is_main)


def _episodes_of(clips: ClipSource) -> dict[str, Any]:
    """Return what a checkpoint records of the episodes whose videos it is trained on; nothing of other videos."""
    used = []
    for path in clips.datasets() if isinstance(clips, ClipMixture) else ():
        try:
            used.append(all_episodes(LeRobotDataset(path)))
        except DataError as error:  # videos without usable states and actions
            logger.info("no record of the episodes of %s: %s", path, error)
    return training_record(used) if used else {}


def open_clips(
    config: PretrainConfig, *, views: int = 1, videos: Sequence[Tensor] | None = None
) -> ClipSource:
    """Return the clips that a pretraining trains on: of files, or of videos in memory.

    Args:
        config: The run's configuration.
        views: Crops of each clip.
        videos: See :func:`pretrain`.

    Raises:
        ConfigError: If no data is given.
        DataError: If the data cannot be used.
    """
    size, seed = config.model.image_size, config.seed
    frames = config.model.num_frames
    if videos is not None:
        return ArrayClips(videos, config.data, num_frames=frames, image_size=size, seed=seed, views=views)
    return ClipMixture(config.data, num_frames=frames, image_size=size, seed=seed, views=views)


def _refuse_large_batches(
    config: PretrainConfig, clips: ClipSource, ranks: Ranks, device: torch.device
) -> None:
    """Refuse batches whose clips alone, as bytes and then as floats of a micro-batch, do not fit into memory."""
    count = config.trainer.batch_size // ranks.world_size
    as_floats = 4 / config.trainer.accumulate if device.type == "cpu" else 0
    refuse_beyond_memory(
        count * math.prod(clips.largest_shape) * (1 + as_floats),
        f"batches of {count} clips per process (trainer.batch_size)",
        "lower trainer.batch_size, model.num_frames or model.image_size, or raise trainer.accumulate",
    )


def _loader(
    config: PretrainConfig, clips: ClipSource, ranks: Ranks, device: torch.device, folder: Path
) -> ClipLoader:
    return ClipLoader(
        clips,
        batch_size=config.trainer.batch_size,
        rank=ranks.rank,
        world_size=ranks.world_size,
        workers=config.trainer.workers,
        pin_memory=device.type == "cuda",
        bad_files=folder / "bad_files.csv",
    )


def _load_initial_weights(source: str, objective: Objective) -> None:
    """Load the weights of an earlier run into the objective's modules."""
    try:
        objective.modules.load_state_dict(load_modules(source))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"init={source} does not fit: {reason}. Give the model, the predictor and the objective that it was "
            "trained with; image_size and num_frames may differ where positions are rotary."
        ) from error


def _open_probe(config: PretrainConfig) -> OnlineProbe | None:
    if not config.probe.every:
        return None
    return open_online_probe(
        config.probe,
        frames=config.model.num_frames,
        image_size=config.model.image_size,
        fps=config.data.fps,
        seed=config.seed,
        untrained=untrained_encoder(config.model, config.seed + 1),
        workers=config.trainer.workers,
        max_bad_fraction=config.data.max_bad_fraction,
    )
