"""`pretrain`: learn a video encoder from unlabeled clips."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vjepa_world.cli.shared.common import TRAINING_MAY_CHANGE, provenance, refuse_taken_run, shared_run
from vjepa_world.config.ranges import SEED
from vjepa_world.data.config import VideoDataConfig
from vjepa_world.models.config import EncoderConfig, MaskedPredictorConfig
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.pretrain.config import PretrainObjective
from vjepa_world.training.pretrain.online_probe_config import OnlineProbeConfig

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from vjepa_world.data.loading.loader import ClipLoader
    from vjepa_world.data.loading.mixture import ClipMixture
    from vjepa_world.training.engine.distributed import Ranks
    from vjepa_world.training.pretrain.objectives import Method
    from vjepa_world.training.pretrain.online_probe import OnlineProbe

#: What a resumed run may be told other than before; how clips are loaded changes none of them.
MAY_CHANGE = (
    *TRAINING_MAY_CHANGE,
    "init",
    "data.memory_gb",
    "data.open_videos",
    "data.decode_device",
)


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to learn from.

    Attributes:
        name: The run goes to runs/pretrain/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        init: A run whose weights this one starts from (a cool-down with longer clips or larger images).
        device: auto, cpu, cuda or cuda:N.
        data: The clips.
        model: The encoder.
        predictor: The masked predictor, which is thrown away afterwards.
        objective: What is minimised.
        trainer: How long and how fast.
        probe: What is read off the features while they are learned, where the data has labels.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    init: str = ""
    device: str = "auto"
    data: VideoDataConfig
    model: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: MaskedPredictorConfig = field(default_factory=MaskedPredictorConfig)
    objective: PretrainObjective = field(default_factory=PretrainObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    probe: OnlineProbeConfig = field(default_factory=OnlineProbeConfig)


def run(config: Config) -> None:
    """Train, write checkpoints, and say where they are."""
    refuse_taken_run("pretrain", config)
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.system.device import resolve_device, set_threads
    from vjepa_world.training.engine.distributed import local_device, process_group

    device = local_device(resolve_device(config.device))
    set_threads(config.trainer.threads)
    with process_group(device, config.trainer.timeout_s) as ranks:
        folder = _train(config, device, ranks)
    if ranks.is_main:
        find_checkpoint(folder)  # what is said to be there is there
        word = shlex.quote(f"encoder={folder}")
        print(f"encoder in {folder}; freeze it with: vjepa-world finetune {word} data.path=DATASET")


def _train(config: Config, device: torch.device, ranks: Ranks) -> Path:
    from vjepa_world.data.loading.mixture import ClipMixture
    from vjepa_world.runs import read_metrics
    from vjepa_world.training.engine.trainer import Trainer
    from vjepa_world.training.pretrain.collapse import CollapseAlarm, Recipe
    from vjepa_world.training.pretrain.objectives import build_method
    from vjepa_world.training.pretrain.pretraining import PretrainTask

    # What can go wrong goes wrong before the run has a folder.
    method = build_method(config.model, config.predictor, config.objective, seed=config.seed)
    if config.init and not config.resume:
        _start_from(config.init, method)
    mixture = ClipMixture(
        config.data,
        num_frames=config.model.num_frames,
        image_size=config.model.image_size,
        seed=config.seed,
        views=method.views,
    )
    _refuse_large_batches(config, mixture, ranks, device)
    probe = _open_probe(config)
    with shared_run("pretrain", config, ranks, MAY_CHANGE) as folder:
        task = PretrainTask(
            _loader(config, mixture, ranks, device, folder),
            method,
            config.objective,
            config.trainer,
            seed=config.seed,
            device=device,
            provenance=provenance("pretrain", config),
            probe=probe,
            probe_every=config.probe.every,
            alarm=CollapseAlarm(Recipe.of(config.objective), read_metrics(folder)),
        )
        Trainer(task, config.trainer, folder, device).fit(config.resume)
    return folder


def _refuse_large_batches(config: Config, mixture: ClipMixture, ranks: Ranks, device: torch.device) -> None:
    """Refuse batches whose clips alone, as bytes and then as numbers a slice, do not fit into memory."""
    from vjepa_world.system.memory import refuse_beyond_memory

    clips = config.trainer.batch_size // ranks.world_size
    as_numbers = 4 / config.trainer.accumulate if device.type == "cpu" else 0
    refuse_beyond_memory(
        clips * math.prod(mixture.largest_shape) * (1 + as_numbers),
        f"batches of {clips} clips a process (trainer.batch_size)",
        "lower trainer.batch_size, model.num_frames or model.image_size, or raise trainer.accumulate",
    )


def _loader(
    config: Config, mixture: ClipMixture, ranks: Ranks, device: torch.device, folder: Path
) -> ClipLoader:
    from vjepa_world.data.loading.loader import ClipLoader

    return ClipLoader(
        mixture,
        batch_size=config.trainer.batch_size,
        rank=ranks.rank,
        world_size=ranks.world_size,
        workers=config.trainer.workers,
        pin_memory=device.type == "cuda",
        bad_files=folder / "bad_files.csv",
    )


def _start_from(source: str, method: Method) -> None:
    """Put the weights of an earlier run in place."""
    from vjepa_world.errors import CheckpointError
    from vjepa_world.training.engine.checkpoint import load_modules

    try:
        method.modules.load_state_dict(load_modules(source))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"init={source} does not fit: {reason}. Give the model, the predictor and the objective that it was "
            "trained with; image_size and num_frames may differ where positions are rotary."
        ) from error


def _open_probe(config: Config) -> OnlineProbe | None:
    if not config.probe.every:
        return None
    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.training.pretrain.online_probe import open_online_probe

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
