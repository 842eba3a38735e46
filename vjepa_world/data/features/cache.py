"""The cache of a frozen encoder's features of a trajectory dataset: computed once, then read from disk.

`key` identifies a cache, `shards` defines its files, `encoding` computes it, `limits` bounds the size of all caches,
`store` reads it.

Shapes: M frames, C channels, H W pixels, N tokens per frame, D width, W processes.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.features.encoding import Encode, ShardEncoder
from vjepa_world.data.features.key import FeatureKey
from vjepa_world.data.features.limits import Lease, build_lock, check_disk, evict_caches, format_bytes
from vjepa_world.data.features.shards import (
    ABOUT,
    PLAN,
    Plan,
    is_whole,
    pairs,
    read_content,
    shard_error,
    shard_path,
    write_json,
)
from vjepa_world.data.features.store import FeatureStore, open_features
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError, counted
from vjepa_world.system.progress import track

__all__ = ["FeatureKey", "FeatureStore", "build_features", "open_features"]

logger = logging.getLogger(__name__)


def build_features(
    dataset: TrajectoryDataset,
    encode: Encode,
    key: FeatureKey,
    *,
    root: Path,
    workers: int = 0,
    ranks_: tuple[int, int] = (0, 1),
    barrier: Callable[[], None] = lambda: None,
    batch_frames: int = 64,
    max_bad_fraction: float = 0.0,
    limit_gb: float = 100.0,
) -> FeatureStore:
    """Compute the features of every frame of a dataset, or open those of an earlier run.

    A killed build continues with the missing shards. Several processes share the work; all must call this function and
    see `root`.

    Args:
        dataset: The trajectories.
        encode: Frames uint8 `[M, C, H, W]` to features `[M, N, D]`, floating point on any device.
        key: The features' key; `key.dataset` is the dataset's fingerprint.
        root: Folder of all caches.
        workers: Decoding processes for each encoding process; 0 decodes in this one.
        ranks_: Rank of this process, and W.
        barrier: Waits for all processes.
        batch_frames: Frames encoded at once.
        max_bad_fraction: Share of unreadable episodes above which to stop.
        limit_gb: Largest size of all caches under `root` [10^9 bytes]; the least recently used are removed.

    Raises:
        DataError: Too many episodes are unreadable (listed), the disk is too small, the dataset has changed meanwhile,
            or something cannot be written.
        ConfigError: The key does not fit the dataset or the encoder, or `limit_gb` is too small.
    """
    rank, world_size = ranks_
    folder = key.folder(Path(root), dataset)
    _check_key(dataset, key)
    with contextlib.ExitStack() as held:
        held.enter_context(Lease(folder, create=True))
        if rank == 0:
            held.enter_context(build_lock(folder))
            _prepare(dataset, key, folder, max_bad_fraction, limit_gb)
        barrier()
        plan = Plan.read(folder)
        account = _account(dataset, plan.bad, max_bad_fraction)
        own = range(rank, len(plan.shards), world_size)
        missing = [number for number in own if not is_whole(shard_path(folder, number), plan, number)]
        if missing:
            encoder = ShardEncoder(
                dataset=dataset,
                encode=encode,
                key=key,
                plan=plan,
                folder=folder,
                batch_frames=batch_frames,
                account=account,
            )
            encoder.run(missing, workers=workers, quiet=rank != 0)
        barrier()
        if rank == 0:
            _finish(dataset, key, folder, plan)
        barrier()
        store = open_features(folder, key)
    _account(dataset, store.bad, max_bad_fraction).check(dataset.num_episodes)
    return store


def _check_key(dataset: TrajectoryDataset, key: FeatureKey) -> None:
    unknown = [camera for camera in key.cameras if camera not in dataset.cameras]
    if unknown:
        raise ConfigError(
            f"{dataset.path} has no camera '{unknown[0]}'; its cameras: {', '.join(dataset.cameras) or 'none'}."
        )
    if key.dataset != dataset.fingerprint():
        raise ConfigError(
            f"the key is for dataset {key.dataset}, and {dataset.path} is {dataset.fingerprint()}: its files have "
            "changed since, or it is another one. Open it again."
        )


def _account(dataset: TrajectoryDataset, bad: dict[int, str], max_bad_fraction: float) -> BadFiles:
    reasons = {f"{dataset.path} episode {episode}": reason for episode, reason in bad.items()}
    return BadFiles(max_bad_fraction, reasons, what="episodes")


def _prepare(
    dataset: TrajectoryDataset, key: FeatureKey, folder: Path, max_bad_fraction: float, limit_gb: float
) -> None:
    """Plan the shards, unless that was done before, and evict other caches to fit the missing ones."""
    for leftover in folder.glob(".*.tmp.*"):  # of a killed process
        leftover.unlink()
    if not (folder / PLAN).is_file():
        _plan(dataset, key, max_bad_fraction).write(folder)
    plan = Plan.read(folder)
    whole = [is_whole(shard_path(folder, number), plan, number) for number in range(len(plan.shards))]
    frames = [plan.frames(number) for number in range(len(plan.shards))]
    total = sum(frames) * key.frame_bytes
    if all(whole):
        logger.info("features of %s are in %s (%s)", dataset.path, folder, format_bytes(total))
        return
    if (folder / ABOUT).is_file():
        logger.warning("%s: %d of %d shards are damaged or missing", folder, whole.count(False), len(whole))
        (folder / ABOUT).unlink()
    missing = sum(n for n, there in zip(frames, whole, strict=True) if not there)
    logger.info(
        "features of %s: %s x %s x %s x %s%s take %s in %s; frames to compute: %d",
        dataset.path,
        counted(sum(frames), "frame"),
        counted(len(key.cameras), "camera"),
        counted(key.tokens, "token"),
        counted(key.width, "number"),
        f" and thumbnails of {key.thumbnail} pixels" if key.thumbnail else "",
        format_bytes(total),
        folder,
        missing,
    )
    evict_caches(folder, total, limit_gb)
    check_disk(folder, missing * key.frame_bytes)


def _plan(dataset: TrajectoryDataset, key: FeatureKey, max_bad_fraction: float) -> Plan:
    """Read the lengths of the episodes and assign them to shards.

    Raises:
        DataError: Too many are unreadable, or there are none.
    """
    if not dataset.num_episodes:
        raise DataError(f"{dataset.path} has no episodes; give a dataset that has.")
    account, lengths, bad = _account(dataset, {}, max_bad_fraction), {}, {}
    for index in track(range(dataset.num_episodes), "lengths", unit="episode", delay_s=2.0):
        try:
            lengths[index] = len(dataset.episode(index))
        except DataError as error:
            bad[index] = str(error)
            account.add(f"{dataset.path} episode {index}", str(error))
            account.check(dataset.num_episodes)
    account.check(dataset.num_episodes)
    return Plan.cut(lengths, bad, key.frame_bytes)


def _finish(dataset: TrajectoryDataset, key: FeatureKey, folder: Path, plan: Plan) -> None:
    """Write the list of shards, which completes the cache.

    Raises:
        DataError: The dataset has changed meanwhile, or a shard is missing.
    """
    if (folder / ABOUT).is_file():
        return
    if dataset.fingerprint() != key.dataset:
        for number in range(len(plan.shards)):
            shard_path(folder, number).unlink(missing_ok=True)
        raise DataError(
            f"the files of {dataset.path} changed while its features were computed, which were removed. Run "
            "again when nothing writes there."
        )
    shards, bad = [], dict(plan.bad)
    for number in range(len(plan.shards)):
        path = shard_path(folder, number)
        content = read_content(path)
        if content is None:
            raise shard_error(path, "it was just written, and is not whole")
        bad |= content.bad
        shards.append({"file": path.name, "bytes": path.stat().st_size, "episodes": content.episodes})
    write_json(
        folder / ABOUT, {"key": key.parts(), "shards": shards, "bad": pairs(dict(sorted(bad.items())))}
    )
