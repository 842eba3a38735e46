"""Decodes a dataset's frames in worker processes and encodes them in batches, shard by shard.

Shapes: M frames, C channels, H W pixels, N tokens per frame, D width, s side of a thumbnail [pixels].
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.features.key import FeatureKey
from vjepa_world.data.features.shards import Plan, ShardContent, shard_path, write_shard
from vjepa_world.data.loading.worker_pool import CurrentItem, ItemKey, WorkerPool
from vjepa_world.data.trajectories.trajectory import TrajectoryDataset
from vjepa_world.errors import ConfigError, DataError
from vjepa_world.ops.pixels import resize_frames
from vjepa_world.system.progress import Progress, progress

Encode = Callable[[Tensor], Tensor]

#: Frames and thumbnails, or why they cannot be decoded.
Decoded = tuple[Tensor, Tensor] | str

#: The same as arrays, to be sent between processes.
_Sent = tuple[np.ndarray, np.ndarray] | str

#: How long a worker may decode one chunk while it is waited for [s].
_TIMEOUT_S = 600.0

#: Most rows of a chunk, which a worker decodes at once.
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one camera of an episode."""

    episode: int
    camera: str
    start: int
    stop: int


@dataclass(frozen=True)
class _ChunkDecoder:
    """Decodes chunks to frames uint8 `[M, C, H, W]` and thumbnails `[M, 3, s, s]`, or the reason of a failure."""

    dataset: TrajectoryDataset
    chunks: Sequence[Chunk]
    thumbnail: int

    def load(self, index: int) -> Decoded:
        """Decode a chunk in this process."""
        chunk = self.chunks[index]
        try:
            episode = self.dataset.episode(chunk.episode)
            frames = episode.frames(np.arange(chunk.start, chunk.stop), chunk.camera)
        except DataError as error:
            return str(error)
        small = resize_frames(frames, self.thumbnail) if self.thumbnail else frames[:, :, :0, :0]
        return frames, small.contiguous()

    def __call__(self, index: int, failed: Mapping[ItemKey, str], current: CurrentItem) -> tuple[int, _Sent]:
        """Decode a chunk for another process, as arrays: sending tensors would use file handles."""
        if (index,) in failed:
            return index, failed[index,]
        chunk = self.chunks[index]
        current.write((index,), f"camera '{chunk.camera}' of episode {chunk.episode} of {self.dataset.path}")
        found = self.load(index)
        return index, found if isinstance(found, str) else (found[0].numpy(), found[1].numpy())

    def decoded(self, workers: int) -> Iterator[Decoded]:
        """Yield all decoded chunks in order, decoded by `workers` processes (0: in this one).

        A chunk that crashes its decoder yields the reason.

        Raises:
            DataError: A worker was killed, or takes too long for a chunk, which is named.
        """
        if not workers:
            yield from map(self.load, range(len(self.chunks)))
            return
        with WorkerPool[int, tuple[int, _Sent]](self, workers, _TIMEOUT_S) as pool:
            ahead, waiting = 2 * workers, dict[int, _Sent]()
            for index in range(min(ahead, len(self.chunks))):
                pool.submit(index % workers, index)
            for index in range(len(self.chunks)):
                while index not in waiting:
                    finished, found = pool.receive()
                    waiting[finished] = found
                if index + ahead < len(self.chunks):
                    pool.submit(index % workers, index + ahead)
                sent = waiting.pop(index)
                yield (
                    sent if isinstance(sent, str) else (torch.from_numpy(sent[0]), torch.from_numpy(sent[1]))
                )


class _Shard:
    """Collects the features of a shard's frames, and drops those of bad episodes."""

    def __init__(self, plan: Plan, number: int, key: FeatureKey) -> None:
        self.number = number
        self.lengths = {episode: plan.lengths[episode] for episode in plan.shards[number]}
        frames = plan.frames(number)
        ends = np.cumsum(list(self.lengths.values()))
        self.first = {e: int(end) - self.lengths[e] for e, end in zip(self.lengths, ends, strict=True)}
        self.bad: dict[int, str] = {}
        self.features = {
            camera: torch.zeros(frames, key.tokens, key.width, dtype=torch.bfloat16) for camera in key.cameras
        }
        size = (frames, 3, key.thumbnail, key.thumbnail)
        self.thumbnails = {camera: torch.zeros(size, dtype=torch.uint8) for camera in key.cameras}

    def tensors(self) -> dict[str, Tensor]:
        found = {f"features.{camera}": values for camera, values in self.features.items()}
        found |= {
            f"thumbnails.{camera}": values for camera, values in self.thumbnails.items() if values.numel()
        }
        if not self.bad:
            return found
        good = [torch.full((length,), episode not in self.bad) for episode, length in self.lengths.items()]
        return {name: values[torch.cat(good)] for name, values in found.items()}

    def content(self) -> ShardContent:
        episodes = tuple((e, length) for e, length in self.lengths.items() if e not in self.bad)
        return ShardContent(episodes, self.bad)


class _Batches:
    """Encodes frames of several episodes in batches, into their rows of `out [F, N, D]`."""

    def __init__(self, encode: Encode, key: FeatureKey, batch_frames: int, out: Tensor, what: str) -> None:
        self.encode, self.key, self.size, self.out, self.what = encode, key, batch_frames, out, what
        self.frames: list[Tensor] = []
        self.rows: list[Tensor] = []

    def add(self, frames: Tensor, first: int) -> None:
        """Add frames `[M, C, H, W]` whose features go to the rows from `first` on; encode whole batches."""
        if self.frames and self.frames[0].shape[1:] != frames.shape[1:]:
            self.finish()
        self.frames.append(frames)
        self.rows.append(torch.arange(first, first + len(frames)))
        if sum(map(len, self.frames)) < self.size:
            return
        waiting, rows = torch.cat(self.frames), torch.cat(self.rows)
        whole = len(rows) - len(rows) % self.size
        for start in range(0, whole, self.size):
            self._put(waiting[start : start + self.size], rows[start : start + self.size])
        # Cloned: a slice would keep the whole batch in memory.
        self.frames, self.rows = (
            ([waiting[whole:].clone()], [rows[whole:]]) if whole < len(rows) else ([], [])
        )

    def finish(self) -> None:
        """Encode the remaining frames."""
        if self.frames:
            self._put(torch.cat(self.frames), torch.cat(self.rows))
        self.frames, self.rows = [], []

    @torch.no_grad()
    def _put(self, frames: Tensor, rows: Tensor) -> None:
        features = self.encode(frames)
        expected = (len(frames), self.key.tokens, self.key.width)
        if features.shape != expected:
            raise ConfigError(
                f"the encoder gives features {tuple(features.shape)} of {len(frames)} frames, and the cache is for "
                f"{expected}: tokens and width of its key must be the encoder's."
            )
        stored = features.to(torch.bfloat16).cpu()
        if not stored.isfinite().all():
            raise DataError(
                f"features of {self.what} are not finite. The encoder's weights are broken, or its precision is too "
                "low; try float32."
            )
        self.out[rows] = stored


@dataclass(frozen=True, kw_only=True)
class ShardEncoder:
    """Computes shards and writes each when it is complete.

    A batch never crosses the end of a shard, so that a shard does not depend on which others are computed.

    Attributes:
        dataset: The trajectories.
        encode: Frames uint8 `[M, C, H, W]` to features `[M, N, D]`.
        key: The key of the features.
        plan: The episodes of each shard.
        folder: The cache's folder.
        batch_frames: M, except in the last batch of a camera in a shard.
        account: Counts episodes with a frame that cannot be decoded.
    """

    dataset: TrajectoryDataset
    encode: Encode
    key: FeatureKey
    plan: Plan
    folder: Path
    batch_frames: int
    account: BadFiles

    def run(self, numbers: Sequence[int], *, workers: int, quiet: bool) -> None:
        """Compute these shards.

        Args:
            numbers: Their numbers.
            workers: Decoding processes; 0 decodes in this one.
            quiet: Whether to show no progress bar.

        Raises:
            DataError: Too many episodes are bad, features are not finite, or the disk is full.
            ConfigError: Features have another shape than the key's.
        """
        parts = {
            (number, camera): self._chunks(number, camera)
            for number in numbers
            for camera in self.key.cameras
        }
        chunks = [chunk for part in parts.values() for chunk in part]
        decoded = _ChunkDecoder(self.dataset, chunks, self.key.thumbnail).decoded(workers)
        frames = sum(chunk.stop - chunk.start for chunk in chunks)
        with progress("features", unit="frame", total=frames, disable=quiet) as bar:
            for number in numbers:
                shard = _Shard(self.plan, number, self.key)
                for camera in self.key.cameras:
                    self._camera(shard, camera, parts[number, camera], decoded, bar)
                write_shard(shard_path(self.folder, number), shard.tensors(), shard.content())

    def _chunks(self, number: int, camera: str) -> list[Chunk]:
        return [
            Chunk(episode, camera, start, min(start + _CHUNK_ROWS, self.plan.lengths[episode]))
            for episode in self.plan.shards[number]
            for start in range(0, self.plan.lengths[episode], _CHUNK_ROWS)
        ]

    def _camera(
        self,
        shard: _Shard,
        camera: str,
        chunks: Sequence[Chunk],
        decoded: Iterator[Decoded],
        bar: Progress,
    ) -> None:
        """Encode the frames of one camera."""
        episodes = self.plan.shards[shard.number]
        what = f"camera '{camera}' of episodes {episodes[0]} to {episodes[-1]} of {self.dataset.path}"
        batches = _Batches(self.encode, self.key, self.batch_frames, shard.features[camera], what)
        for chunk in chunks:
            found = next(decoded)
            bar.update(chunk.stop - chunk.start)
            if isinstance(found, str):
                shard.bad.setdefault(chunk.episode, found)
                self.account.add(f"{self.dataset.path} episode {chunk.episode}", found)
                self.account.check(self.dataset.num_episodes)
            elif chunk.episode not in shard.bad:
                frames, small = found
                first = shard.first[chunk.episode] + chunk.start
                if small.numel():
                    shard.thumbnails[camera][first : first + len(small)] = small
                batches.add(frames, first)
        batches.finish()
