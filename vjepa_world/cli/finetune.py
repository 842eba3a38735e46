"""`finetune`: learn, in the features of a frozen encoder, what the robot's actions do."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vjepa_world.cli.shared.common import (
    SIMULATED_ROBOT,
    TRAINING_MAY_CHANGE,
    provenance,
    refuse_taken_run,
    shared_run,
)
from vjepa_world.config.ranges import SEED
from vjepa_world.data.trajectories.config import FeaturesConfig, TrajectoryDataConfig
from vjepa_world.errors import CheckpointError, ConfigError
from vjepa_world.models.config import (
    ActionPredictorConfig,
    DecoderConfig,
    EncoderConfig,
    InverseConfig,
    LatentsConfig,
)
from vjepa_world.training.engine.config import TrainerConfig
from vjepa_world.training.finetune.config import FinetuneObjective

if TYPE_CHECKING:
    import torch

    from vjepa_world.data.features.store import FeatureStore
    from vjepa_world.models.config import EmbodimentConfig
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.training.engine.distributed import Ranks
    from vjepa_world.training.finetune.trajectory_sources import TrajectorySource
    from vjepa_world.training.finetune.window_batches import WindowReader

logger = logging.getLogger(__name__)

#: Encoders that are no checkpoint: the controls.
UNTRAINED, PIXELS = "untrained", "pixels"


@dataclass(frozen=True, kw_only=True)
class Config:
    """What to learn from.

    Attributes:
        name: The run goes to runs/finetune/NAME.
        seed: Where all randomness comes from.
        resume: Go on with a run that was stopped.
        device: auto, cpu, cuda or cuda:N.
        encoder: A pretrain run or checkpoint folder; or a control, untrained or pixels.
        data: The trajectories.
        features: The cache of the frozen encoder's features.
        model: The encoder's architecture, for the controls alone; a checkpoint brings its own.
        latents: What becomes of the encoder's tokens before the predictor.
        predictor: The action-conditioned predictor.
        inverse: From two frames' features to the actions between them, trained beside; inverse.horizon=0 for none.
        decoder: From features to small pictures, to look at, trained beside; decoder.image_size=0 for none.
        objective: What is minimised.
        trainer: How long and how fast.
    """

    name: str = ""
    seed: int = field(default=0, metadata=SEED)
    resume: bool = False
    device: str = "auto"
    encoder: str = field(metadata={"example": "encoder=runs/pretrain/first"})
    data: TrajectoryDataConfig
    features: FeaturesConfig = field(default_factory=FeaturesConfig)
    model: EncoderConfig = field(default_factory=EncoderConfig)
    latents: LatentsConfig = field(default_factory=LatentsConfig)
    predictor: ActionPredictorConfig = field(default_factory=ActionPredictorConfig)
    inverse: InverseConfig = field(default_factory=InverseConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    objective: FinetuneObjective = field(default_factory=FinetuneObjective)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)

    def __post_init__(self) -> None:
        if self.objective.rollout >= self.data.frames and self.objective.rollout > 1:
            raise ConfigError(
                f"objective.rollout {self.objective.rollout} needs windows of {self.objective.rollout + 1} frames, "
                f"data.frames is {self.data.frames}; raise it or lower the rollout."
            )
        if self.predictor.use_extrinsics and self.data.views == "all":
            raise ConfigError(
                "predictor.use_extrinsics takes one camera's pose, and data.views=all shows several; choose one."
            )

    def unused(self) -> dict[str, str]:
        """Return what the choices of this run leave without a use."""
        found: dict[str, str] = {}
        if self.encoder not in (UNTRAINED, PIXELS):
            found["model"] = "encoder=CHECKPOINT, which brings its own architecture,"
        if not self.features.cache:  # that augmentation switches it off is said in a warning
            keys = ("root", "folder", "limit_gb", "batch_frames")
            found |= {f"features.{key}": "features.cache=false" for key in keys}
        for part, size in (("inverse", "horizon"), ("decoder", "image_size")):
            config = getattr(self, part)
            if not getattr(config, size):
                others = [entry.name for entry in fields(config) if entry.name != size]
                found |= {f"{part}.{key}": f"{part}.{size}=0" for key in others}
        kind = self.latents.kind
        if kind != "queries":
            keys = ("latents.embed_dim", "latents.depth", "latents.num_heads", "objective.reconstruct")
            found |= dict.fromkeys(keys, f"latents.kind={kind}")
        if kind == "none":
            found["latents.side"] = "latents.kind=none"
        if not self.predictor.predict_state:
            found["objective.state"] = "predictor.predict_state=false"
        if self.objective.rollout == 1:
            found["objective.rollout_ramp"] = "objective.rollout=1"
        return found

    @property
    def cached(self) -> bool:
        """Whether features come out of the cache."""
        return self.features.cache and not self.data.needs_pixels


def run(config: Config) -> None:
    """Train what stands behind the frozen encoder, alone or as one of several processes, and say where it is."""
    refuse_taken_run("finetune", config)
    from vjepa_world.pretrained.native import find_checkpoint
    from vjepa_world.system.device import resolve_device, set_threads
    from vjepa_world.training.engine.distributed import local_device, process_group

    device = local_device(resolve_device(config.device))
    set_threads(config.trainer.threads)
    if config.features.cache and config.data.needs_pixels:
        logger.warning(
            "the cache of features is off: data.crop_scale and data.color_jitter need pixels at each step"
        )
    with process_group(device, config.trainer.timeout_s) as ranks:
        folder, hint = _train(config, device, ranks)
    if ranks.is_main:
        find_checkpoint(folder)  # what is said to be there is there
        word = shlex.quote(f"checkpoint={folder}")
        print(f"world model in {folder}; try it with: vjepa-world evaluate {word}{hint}")


def _train(config: Config, device: torch.device, ranks: Ranks) -> tuple[Path, str]:
    """Return the run folder, and what `evaluate` is to be told for this model."""
    from vjepa_world.training.engine.trainer import Trainer
    from vjepa_world.training.finetune.finetuning import FinetuneTask
    from vjepa_world.training.finetune.image_statistics import training_images
    from vjepa_world.training.finetune.robot_spec import embodiments_of
    from vjepa_world.training.finetune.trajectory_sources import open_sources

    # What can go wrong goes wrong before the run has a folder.
    if config.trainer.batch_size % ranks.world_size:
        raise ConfigError(
            f"trainer.batch_size {config.trainer.batch_size} cannot be shared by {ranks.world_size} processes; give a "
            "multiple of that."
        )
    sources = open_sources(config.data, seed=config.seed)
    model = build_model(config, embodiments_of(sources), views_of(config, sources)).to(device)
    _refuse_large_batches(config, model, ranks)
    with shared_run("finetune", config, ranks, TRAINING_MAY_CHANGE) as folder:
        stores = _stores(config, model, sources, ranks) if config.cached else []
        for number, store in enumerate(stores):
            sources[number] = sources[number].without(store.bad)
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
            provenance=provenance("finetune", config) | _origins(config),
            bad_episodes=folder / "bad_episodes.csv",
        )
        Trainer(task, config.trainer, folder, device).fit(config.resume)
    return folder, _evaluation_words(config, sources)


def _refuse_large_batches(config: Config, model: LatentWorldModel, ranks: Ranks) -> None:
    """Refuse batches whose features alone do not fit into memory."""
    from vjepa_world.system.memory import refuse_beyond_memory

    windows = config.trainer.batch_size // ranks.world_size
    tokens = model.config.frozen_side**2 * model.config.views
    refuse_beyond_memory(
        4 * windows * config.data.frames * tokens * model.feature_dim,
        f"the features of {windows} windows a process (trainer.batch_size)",
        "lower trainer.batch_size or data.frames",
    )


def _evaluation_words(config: Config, sources: Sequence[TrajectorySource]) -> str:
    """Return the words with which `evaluate` works for the first of the robots: in the simulator for its arm alone."""
    first = sources[0]
    if first.dataset.about.get("robot") == SIMULATED_ROBOT and (
        config.data.views == "one" or len(first.cameras) == 1
    ):
        return ""
    words = ["mode=open_loop", shlex.quote(f"data.path={first.dataset.path}")]
    if len(sources) > 1:
        words.append(shlex.quote(f"data.embodiment={first.embodiment}"))
    if not config.data.val_fraction:
        words.append("data.split=all")
    return " " + " ".join(words)


def views_of(config: Config, sources: Sequence[TrajectorySource]) -> int:
    """Return how many pictures a frame has.

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


def _stores(
    config: Config, model: LatentWorldModel, sources: Sequence[TrajectorySource], ranks: Ranks
) -> list[FeatureStore]:
    from vjepa_world.system.device import resolve_precision
    from vjepa_world.training.finetune.frozen_features import frozen_features

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
    config: Config,
    model: LatentWorldModel,
    sources: Sequence[TrajectorySource],
    stores: Sequence[FeatureStore],
) -> WindowReader:
    from vjepa_world.training.finetune.window_batches import Augmentation, CachedWindows, DecodedWindows

    if stores:
        return CachedWindows(
            sources,
            stores,
            side=model.config.frozen_side,
            pictures=model.decoder is not None,
            extrinsics=config.predictor.use_extrinsics,
        )
    return DecodedWindows(
        sources,
        image_size=model.config.encoder.image_size,
        picture_size=config.decoder.image_size,
        augmentation=Augmentation(config.data.crop_scale, config.data.color_jitter),
        extrinsics=config.predictor.use_extrinsics,
        seed=config.seed,
        workers=config.trainer.workers,
    )


def _origins(config: Config) -> dict[str, Any]:
    """Return where the encoder and the data come from, as far as their folders tell."""
    from vjepa_world.config import read_yaml_file
    from vjepa_world.pretrained import read_checkpoint
    from vjepa_world.runs import CONFIG_FILE

    origins: dict[str, Any] = {}
    if config.encoder not in (UNTRAINED, PIXELS):
        checkpoint = read_checkpoint(config.encoder)
        origins["encoder"] = checkpoint.details.get("provenance", f"{checkpoint.name}: {config.encoder}")
    for source in config.data.all_sources().values():
        recorded = Path(source.path) / CONFIG_FILE
        if recorded.is_file():
            origins.setdefault("data", {})[source.path] = read_yaml_file(recorded)
    return origins


def build_model(config: Config, embodiments: tuple[EmbodimentConfig, ...], views: int) -> LatentWorldModel:
    """Return the world model with its frozen encoder and new weights behind it.

    Raises:
        CheckpointError: If the encoder is neither a checkpoint nor a control.
    """
    import torch

    from vjepa_world.models.config import WorldModelConfig
    from vjepa_world.models.encoder import untrained_encoder
    from vjepa_world.models.world_model import LatentWorldModel
    from vjepa_world.pretrained import load_encoder

    if config.encoder == PIXELS:
        encoder = None
    elif config.encoder == UNTRAINED:
        encoder = untrained_encoder(config.model, config.seed)
    else:
        try:
            encoder = load_encoder(config.encoder)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error} Or take a control: encoder={UNTRAINED} or encoder={PIXELS}."
            ) from error
    torch.manual_seed(config.seed)
    model = LatentWorldModel(
        WorldModelConfig(
            encoder=encoder.config if encoder else config.model,
            predictor=config.predictor,
            encoder_kind="vjepa" if encoder else "pixels",
            latents=config.latents,
            embodiments=embodiments,
            views=views,
            inverse=config.inverse,
            decoder=config.decoder,
        )
    )
    if encoder is not None:
        model.encoder.load_state_dict(encoder.state_dict())
    return model
