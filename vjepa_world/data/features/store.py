"""Reads the cached features of a trajectory dataset: memory-mapped, checked, and gathered by windows.

Shapes: B windows, T frames of a window, N tokens per frame, D width, s side of a thumbnail [pixels].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.features.key import FeatureKey
from vjepa_world.data.features.limits import Lease
from vjepa_world.data.features.shards import ShardRecord, map_shard, read_about, shard_error
from vjepa_world.errors import DataError


class FeatureStore:
    """Memory-mapped features of a dataset's frames, from `build_features` or `open_features`.

    While it is open, its folder is not evicted. Unpickled in another process, it opens the folder again.

    Attributes:
        folder: The cache's folder.
        key: The key of the features.
        lengths: Number of rows by episode, of readable ones.
        bad: Reason by episode, of unreadable ones.
    """

    def __init__(
        self,
        folder: Path,
        key: FeatureKey,
        shards: Sequence[ShardRecord],
        bad: dict[int, str],
        lease: Lease,
    ) -> None:
        self.folder, self.key, self._shards, self._lease = folder, key, shards, lease
        entries = [(e, n, i) for i, shard in enumerate(shards) for e, n in shard.episodes]
        self.lengths: dict[int, int] = {episode: length for episode, length, _ in sorted(entries)}
        self.bad = bad
        count = 1 + max([*self.lengths, *self.bad], default=-1)
        self._shard, self._first, self._length = (np.full(count, -1, dtype=np.int64) for _ in range(3))
        for number, shard in enumerate(shards):
            first = 0
            for episode, length in shard.episodes:
                self._shard[episode], self._first[episode], self._length[episode] = number, first, length
                first += length
        self._cameras = {camera: index for index, camera in enumerate(key.cameras)}
        self._mapped: dict[int, dict[str, Tensor]] = {}

    def features(self, episode: int, rows: np.ndarray, camera: str) -> Tensor:
        """Return the features of a camera of an episode at rows `[...]`, bfloat16 `[..., N, D]`.

        Raises:
            DataError: There is no such episode, row or camera.
        """
        found = self.gather(np.array([episode]), np.asarray(rows).reshape(1, -1), [camera])
        return found[0].view(*np.shape(rows), self.key.tokens, self.key.width)

    def gather(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return the features of windows, bfloat16 `[B, T, N, D]`.

        Args:
            episodes: Episode of each window, int `[B]`.
            rows: Rows in the episode, int `[B, T]`.
            cameras: Camera of each window, B names.

        Raises:
            DataError: There is no such episode, row or camera.
        """
        return self._gather("features", episodes, rows, cameras)

    def thumbnails(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        """Return the thumbnails of windows, uint8 `[B, T, 3, s, s]`; arguments as in `gather`.

        Raises:
            DataError: There is no such episode, row or camera, or no thumbnails are stored.
        """
        if not self.key.thumbnail:
            raise DataError(f"{self.folder} has no thumbnails; build features with a thumbnail size above 0.")
        return self._gather("thumbnails", episodes, rows, cameras)

    def _gather(self, kind: str, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> Tensor:
        episodes, rows = np.asarray(episodes, dtype=np.int64), np.asarray(rows, dtype=np.int64)
        self._check(episodes, rows, cameras)
        shard_rows = self._first[episodes][:, None] + rows
        chosen = np.array([self._cameras[camera] for camera in cameras], dtype=np.int64)
        sources = self._shard[episodes] * len(self._cameras) + chosen
        size, dtype = self._kind(kind)
        out = torch.empty(*rows.shape, *size, dtype=dtype)
        for source in np.unique(sources):
            shard, camera = divmod(int(source), len(self._cameras))
            wanted = np.flatnonzero(sources == source)
            stored = self._map(shard)[f"{kind}.{self.key.cameras[camera]}"]
            found = stored.index_select(0, torch.from_numpy(shard_rows[wanted].ravel()))
            out[torch.from_numpy(wanted)] = found.view(len(wanted), rows.shape[1], *size)
        return out

    def _kind(self, kind: str) -> tuple[tuple[int, ...], torch.dtype]:
        if kind == "features":
            return (self.key.tokens, self.key.width), torch.bfloat16
        return (3, self.key.thumbnail, self.key.thumbnail), torch.uint8

    def _check(self, episodes: np.ndarray, rows: np.ndarray, cameras: Sequence[str]) -> None:
        if rows.ndim != 2 or episodes.shape != rows.shape[:1] or len(cameras) != len(rows):
            raise ValueError(
                f"expected episodes [B], rows [B,T] and B cameras, got {episodes.shape}, {rows.shape} and "
                f"{len(cameras)}"
            )
        unknown = set(cameras) - set(self._cameras)
        if unknown:
            raise DataError(
                f"{self.folder} has no camera '{min(unknown)}'; its cameras: {', '.join(self.key.cameras)}."
            )
        inside = (episodes >= 0) & (episodes < len(self._length))
        lengths = np.full(len(episodes), -1, dtype=np.int64)
        lengths[inside] = self._length[episodes[inside]]
        missing = episodes[lengths < 0]
        if missing.size:
            reason = self.bad.get(int(missing[0]), f"it has {len(self.lengths)} episodes")
            raise DataError(f"{self.folder} has no features of episode {missing[0]}: {reason}")
        wrong = np.argwhere((rows < 0) | (rows >= np.reshape(lengths, (-1, 1))))
        if wrong.size:
            window, frame = wrong[0]
            raise DataError(
                f"{self.folder}: episode {episodes[window]} has no row {rows[window, frame]}; it has "
                f"{self._length[episodes[window]]}, counted from 0."
            )

    def _map(self, number: int) -> dict[str, Tensor]:
        if number not in self._mapped:
            kinds = ["features"] + ["thumbnails"] * (self.key.thumbnail > 0)
            names = [f"{kind}.{camera}" for kind in kinds for camera in self.key.cameras]
            shard = self._shards[number]
            found = map_shard(shard.path, names)
            for name, tensor in found.items():
                size, dtype = self._kind(name.partition(".")[0])
                if tensor.dtype != dtype or tuple(tensor.shape) != (shard.frames, *size):
                    raise shard_error(shard.path, f"{name} is {tensor.dtype} {list(tensor.shape)}")
            self._mapped[number] = found
        return self._mapped[number]

    def close(self) -> None:
        """Unmap the files, and release the folder for eviction."""
        self._mapped.clear()
        self._lease.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Callable[[Path, FeatureKey], FeatureStore], tuple[Path, FeatureKey]]:
        return open_features, (self.folder, self.key)


def open_features(folder: Path, key: FeatureKey) -> FeatureStore:
    """Open features that were computed before.

    Args:
        folder: The cache's folder.
        key: The expected key.

    Raises:
        DataError: They are missing or unfinished, have another key (the differing parts are named), or a file is
            missing or truncated.
    """
    lease = Lease(folder)
    try:
        parts, shards, bad = read_about(folder)
        key.check_matches(folder, parts)
        for shard in shards:
            size = shard.path.stat().st_size if shard.path.is_file() else 0
            if size != shard.size:
                raise shard_error(shard.path, f"{size} bytes, expected {shard.size}")
    except BaseException:
        lease.close()
        raise
    return FeatureStore(folder, key, shards, bad, lease)
