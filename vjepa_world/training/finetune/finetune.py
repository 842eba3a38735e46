"""Fine-tune a world model: from a frozen encoder and trajectories to a trained model and its run folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from vjepa_world.data.features.store import FeatureStore
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import EmbodimentConfig, WorldModelConfig
from vjepa_world.models.encoder import VideoEncoder, untrained_encoder
from vjepa_world.models.encoders.registered import RegisteredEncoder, sizes_of_features
from vjepa_world.models.state_transition import transition_rule
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained import load_encoder, read_checkpoint
from vjepa_world.pretrained.shipped import checkpoint_path
from vjepa_world.runs import provenance, read_metrics, recorded_config
from vjepa_world.system.device import resolve_precision, set_threads, training_device
from vjepa_world.system.memory import refuse_beyond_memory
from vjepa_world.system.seeding import seeded
from vjepa_world.training.engine.distributed import Ranks, process_group
from vjepa_world.training.engine.run_folder import shared_run
from vjepa_world.training.engine.trainer import Trainer
from vjepa_world.training.finetune.config import PIXELS, UNTRAINED, FinetuneConfig
from vjepa_world.training.finetune.feature_arrays import CAMERA, FeatureArrays
from vjepa_world.training.finetune.frozen_features import frozen_features
from vjepa_world.training.finetune.image_statistics import training_images
from vjepa_world.training.finetune.robot_spec import embodiments_of
from vjepa_world.training.finetune.task import FinetuneTask
from vjepa_world.training.finetune.trajectory_sources import FeatureSource, TrajectorySource, open_sources
from vjepa_world.training.finetune.window_batches import (
    Augmentation,
    CachedWindows,
    DecodedWindows,
    WindowReader,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FinetuneResult:
    """What a fine-tuning gives.

    Attributes:
        folder: The run folder: checkpoints, `metrics.jsonl`, `config.yaml`. `load_world_model(folder)` loads the model.
        model: The trained world model, in evaluation mode, on the training device. With `trainer.parallel=fsdp` it is
            sharded: load it from `folder` instead.
        sources: The datasets, with the windows and the held-out episodes of each.
        is_main: Whether this is the main process; always so where one process trains.
    """

    folder: Path
    model: LatentWorldModel
    sources: tuple[TrajectorySource, ...]
    is_main: bool

    def metrics(self) -> list[dict[str, float]]:
        """Return the logged metrics, one dictionary per logged step."""
        return read_metrics(self.folder)


def finetune(
    config: FinetuneConfig,
    *,
    dataset: TrajectoryDataset | None = None,
    features: Sequence[Tensor] | None = None,
    folder: str | Path | None = None,
) -> FinetuneResult:
    """Train a world model on a frozen encoder, in one process or as one of several that `torchrun` started.

    All randomness comes from `config.seed`; the state of the global generators is not changed.

    Args:
        config: The encoder, the data, the predictor, the objective and the trainer.
        dataset: An open dataset, of files or in memory, instead of `config.data.path`.
        features: Frozen features of each of the dataset's episodes that another encoder computed, float `[T, N, D]`
            with a square number N of tokens, instead of `config.encoder`; they are LayerNormed. The model then plans
            with `encode_features` and `goal_features`, and has no decoder.
        folder: The run folder; None for `runs/finetune/NAME` with `config.name`, or the date and time.

    Raises:
        ConfigError: If the configuration contradicts itself.
        DataError: If the data cannot be used.
        RunError: If the run folder exists already, or is to be resumed and does not exist.
        TrainingError: If the loss or a gradient is not finite.
        CheckpointError: If a checkpoint cannot be read or written.
    """
    _check_features(config, features)
    device = training_device(config.device)
    set_threads(config.trainer.threads)
    if config.features.cache and config.data.needs_pixels:
        logger.warning(
            "the feature cache is off: data.crop_scale and data.color_jitter need pixels at each step"
        )
    with process_group(device, config.trainer.timeout_s) as ranks:
        # All that can fail early fails before the run has a folder.
        if config.trainer.batch_size % ranks.world_size:
            raise ConfigError(
                f"trainer.batch_size {config.trainer.batch_size} cannot be shared by {ranks.world_size} processes; "
                "give a multiple of that."
            )
        sources = open_sources(
            config.data, seed=config.seed, dataset=dataset, camera=None if features is None else CAMERA
        )
        given = _feature_arrays(config, features, sources)
        model = _build_model(config, embodiments_of(sources), _views(config, sources), given).to(device)
        _refuse_large_batches(config, model, ranks)
        if ranks.is_main and not config.predictor.predict_state:
            _hint_at_states(model.config.embodiments)
        with shared_run("finetune", config, ranks, folder=folder) as run:
            stores: list[FeatureSource] = []
            if given is not None:
                given.transform(lambda episode: model.frozen_tokens(episode.to(device).float()))
                stores = [given]
            elif config.cached:
                for number, store in enumerate(_caches(config, model, sources, ranks)):
                    sources[number] = sources[number].without(store.bad)
                    stores.append(store)
            if given is None:
                model.config = replace(model.config, images=training_images(sources))
            task = FinetuneTask(
                model,
                sources,
                _reader(config, model, sources, stores),
                objective=config.objective,
                trainer=config.trainer,
                views=config.data.views,
                seed=config.seed,
                device=device,
                provenance=provenance("finetune", config) | _origins(config, model),
                bad_episodes=run / "bad_episodes.csv",
            )
            Trainer(task, config.trainer, run, device).fit(config.resume)
    return FinetuneResult(folder=run, model=model.eval(), sources=tuple(sources), is_main=ranks.is_main)


def _check_features(config: FinetuneConfig, features: Sequence[Tensor] | None) -> None:
    """Refuse a run that has an encoder and features in memory, or neither."""
    if features is None and not config.encoder:
        raise ConfigError(
            f"encoder is not given; give encoder=runs/pretrain/first (a run, a checkpoint file, org/name on the "
            f"Hugging Face hub, a registered encoder, module:function, {UNTRAINED} or {PIXELS}); in Python, features "
            "in memory will do."
        )
    if features is not None and config.encoder:
        raise ConfigError(
            f"encoder is '{config.encoder}', and features in memory are given too; leave one of them out."
        )


def _feature_arrays(
    config: FinetuneConfig, features: Sequence[Tensor] | None, sources: Sequence[TrajectorySource]
) -> FeatureArrays | None:
    """Return the features in memory, checked.

    Raises:
        ConfigError: If they would have to be of several datasets or views.
        DataError: If they do not belong to the dataset's episodes.
    """
    if features is None:
        return None
    if config.data.views == "all" or len(sources) > 1:
        raise ConfigError(
            "features in memory are of one dataset and one view; leave data.sources and data.views=all out."
        )
    return FeatureArrays(features, sources[0].table.source)


def _build_model(
    config: FinetuneConfig,
    embodiments: tuple[EmbodimentConfig, ...],
    views: int,
    features: FeatureArrays | None,
) -> LatentWorldModel:
    """Return a world model with the frozen encoder of `config` and new weights for all else.

    Args:
        config: The encoder and the architectures of the trained modules.
        embodiments: The robots.
        views: Camera images of a frame, side by side.
        features: Features in memory, of which the model has no encoder.

    Raises:
        CheckpointError: If the encoder is neither a checkpoint nor a control.
    """
    encoder = None if features is not None else _open_encoder(config)
    kind, sizes, decoder = "pixels", config.model, config.decoder
    if features is not None:
        kind, sizes = "features", sizes_of_features(*features.shape)
        decoder = replace(decoder, image_size=0)  # there are no images to learn from
    elif encoder is not None:
        kind = "registered" if isinstance(encoder, RegisteredEncoder) else "vjepa"
        sizes = encoder.config
    with seeded(config.seed):
        model = LatentWorldModel(
            WorldModelConfig(
                encoder=sizes,
                predictor=config.predictor,
                encoder_kind=kind,
                encoder_name=encoder.name if isinstance(encoder, RegisteredEncoder) else "",
                encoder_options=encoder.options if isinstance(encoder, RegisteredEncoder) else {},
                latents=config.latents,
                embodiments=embodiments,
                views=views,
                inverse=config.inverse,
                goal_reader=config.goal_reader,
                decoder=decoder,
            )
        )
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
    return model


def _open_encoder(config: FinetuneConfig) -> VideoEncoder | None:
    """Return the frozen encoder; None for the control on pixels."""
    if config.encoder == PIXELS:
        return None
    if config.encoder == UNTRAINED:
        return untrained_encoder(config.model, config.seed)
    try:
        return load_encoder(checkpoint_path(config.encoder))
    except CheckpointError as error:
        raise CheckpointError(
            f"{error} Or take a registered encoder, or a control: encoder={UNTRAINED} or encoder={PIXELS}."
        ) from error


def _views(config: FinetuneConfig, sources: Sequence[TrajectorySource]) -> int:
    """Return how many camera images a frame has.

    Raises:
        ConfigError: If the datasets have different numbers of cameras.
    """
    counts = {source.name: len(source.cameras) if config.data.views == "all" else 1 for source in sources}
    if len(set(counts.values())) > 1:
        raise ConfigError(
            f"with data.views=all every source needs as many cameras, got {counts}; name them with "
            "data.sources.NAME.cameras."
        )
    return next(iter(counts.values()))


def _hint_at_states(robots: Sequence[EmbodimentConfig]) -> None:
    """Warn where plans of several steps will not be possible, or will guess the states, without predicted states."""
    for robot in robots:
        rule = transition_rule(robot.state_dim, robot.action_dim, robot)
        unknown = "nothing says how its actions change its states"
        found = {"none": "cannot be made", "add": "will take a state plus an action as the next state"}.get(
            rule
        )
        if found and robot.action_meaning in ("given", "choice"):
            logger.warning(
                "robot '%s': %s, so that plans of more than one step %s; train with predictor.predict_state=true for "
                "them",
                robot.name,
                unknown,
                found,
            )


def _refuse_large_batches(config: FinetuneConfig, model: LatentWorldModel, ranks: Ranks) -> None:
    """Refuse batches whose features alone do not fit into memory."""
    windows = config.trainer.batch_size // ranks.world_size
    tokens = model.config.frozen_side**2 * model.config.views
    refuse_beyond_memory(
        4 * windows * config.data.frames * tokens * model.feature_dim,
        f"the features of {windows} windows per process (trainer.batch_size)",
        "lower trainer.batch_size or data.frames",
    )


def _caches(
    config: FinetuneConfig, model: LatentWorldModel, sources: Sequence[TrajectorySource], ranks: Ranks
) -> list[FeatureStore]:
    """Return each dataset's cached features, computing those that no cache has."""
    return [
        frozen_features(
            model,
            source.dataset,
            source.cameras,
            config.features,
            dtype=resolve_precision(config.trainer.precision, model.device),
            workers=config.trainer.workers,
            max_bad_fraction=config.data.max_bad_fraction,
            ranks=ranks,
        )
        for source in sources
    ]


def _reader(
    config: FinetuneConfig,
    model: LatentWorldModel,
    sources: Sequence[TrajectorySource],
    stores: Sequence[FeatureSource],
) -> WindowReader:
    if stores:
        return CachedWindows(
            sources,
            stores,
            side=model.config.frozen_side,
            images=model.decoder is not None,
            extrinsics=config.predictor.use_extrinsics,
        )
    return DecodedWindows(
        sources,
        preprocessing=model.preprocessing,
        small_size=config.decoder.image_size,
        augmentation=Augmentation(config.data.crop_scale, config.data.color_jitter),
        extrinsics=config.predictor.use_extrinsics,
        seed=config.seed,
        workers=config.trainer.workers,
    )


def _origins(config: FinetuneConfig, model: LatentWorldModel) -> dict[str, Any]:
    """Return how the encoder and the data were made, as far as their folders record it."""
    origins: dict[str, Any] = {}
    if model.config.encoder_kind == "registered":
        origins["encoder"] = f"{model.config.encoder_name}: {config.encoder}"
    elif config.encoder and config.encoder not in (UNTRAINED, PIXELS):
        checkpoint = read_checkpoint(config.encoder)
        origins["encoder"] = checkpoint.details.get("provenance", f"{checkpoint.name}: {config.encoder}")
    if config.data.path or config.data.sources:
        paths = [source.path for source in config.data.all_sources().values()]
        recorded = {path: recorded_config(path) for path in paths}
        if any(recorded.values()):
            origins["data"] = {path: found for path, found in recorded.items() if found is not None}
    return origins
