"""The cached features of a fine-tuning's datasets: finds the cache of an encoder and a dataset, or computes it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from vjepa_world.data.features.cache import FeatureKey, build_features, open_features
from vjepa_world.data.features.store import FeatureStore
from vjepa_world.data.trajectories.config import FeaturesConfig
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.models.encoders.registered import description_of
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.pretrained.probes import weights_digest
from vjepa_world.system.device import in_precision
from vjepa_world.training.engine.distributed import Ranks, barrier


def feature_key(
    model: LatentWorldModel, dataset: TrajectoryDataset, cameras: tuple[str, ...], *, dtype: torch.dtype
) -> FeatureKey:
    """Return what the features of a dataset's frames depend on, one view at a time."""
    config = model.config
    how = {
        "encoder": description_of(model.encoder),
        "kind": config.encoder_kind,
        "tokens": "mean over areas" if config.latents.kind == "pool" else "all",
        "computed in": str(dtype),
    }
    return FeatureKey(
        encoder=weights_digest(model.encoder),
        preprocessing=json.dumps(how, sort_keys=True),
        dataset=dataset.fingerprint(),
        cameras=cameras,
        tokens=config.frozen_side**2,
        width=model.feature_dim,
        thumbnail=config.decoder.image_size,
    )


def frozen_features(
    model: LatentWorldModel,
    dataset: TrajectoryDataset,
    cameras: tuple[str, ...],
    config: FeaturesConfig,
    *,
    dtype: torch.dtype,
    workers: int,
    max_bad_fraction: float,
    ranks: Ranks,
) -> FeatureStore:
    """Return the frozen features of every frame of a dataset, computing those that no cache has.

    Args:
        model: The world model with the encoder, on its device.
        dataset: The trajectories.
        cameras: The cameras that are used.
        config: The folder of the caches, and their largest size.
        dtype: Precision of the encoder.
        workers: Worker processes that decode.
        max_bad_fraction: Share of unreadable episodes above which to stop.
        ranks: This process; all of them share the work.

    Raises:
        DataError: `config.folder` is another cache (the error says of what), too many episodes are unreadable, or the
            disk is too small.
    """
    key = feature_key(model, dataset, cameras, dtype=dtype)
    if config.folder:
        return open_features(Path(config.folder), key)

    def encode(frames: Tensor) -> Tensor:
        with in_precision(model.device, dtype):
            return model.view_features(frames)

    return build_features(
        dataset,
        encode,
        key,
        root=Path(config.root),
        workers=workers,
        ranks_=(ranks.rank, ranks.world_size),
        barrier=barrier,
        batch_frames=config.batch_frames,
        max_bad_fraction=max_bad_fraction,
        limit_gb=config.limit_gb,
    )
