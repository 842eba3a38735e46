"""Loads the batches of a mixture in worker processes, any step's without those before it.

Shapes: B clips of the global batch, b = B / world size of this process's, V views of each, T frames of a view, C = 3
channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

import ctypes
import math
import multiprocessing
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.config import VideoDataConfig
from vjepa_world.data.corpus.bad_files import BadFiles
from vjepa_world.data.loading.batches import ClipBatch
from vjepa_world.data.loading.mixture import BadClip, Clip, Watch
from vjepa_world.data.loading.worker_pool import CurrentItem, Key, WorkerPool
from vjepa_world.errors import ConfigError

#: Batches that are made ahead, at least.
_AHEAD = 4


class ClipSource(Protocol):
    """Where clips come from: `ClipMixture` for files, `ArrayClips` for videos in memory.

    Attributes:
        config: How clips are cut and decoded.
        views: V.
        bad: The files that were found bad before the first step.
        total: How many there are, good and bad.
    """

    config: VideoDataConfig
    views: int
    bad: BadFiles
    total: int

    def shape(self, step: int) -> tuple[int, int, int, int, int]:
        """Return [V,T,C,S,S] of the clips of a step."""
        ...

    @property
    def largest_shape(self) -> tuple[int, int, int, int, int]:
        """Return [V,T,C,S,S] of the longest clips."""
        ...

    def clip(self, step: int, entry: int, watch: Watch | None = None) -> Clip:
        """Return entry `entry` of step `step`."""
        ...


class ClipLoader:
    """Gives the batches of any step: rank r has entries r*b, ..., (r+1)*b - 1 of each, whatever the world size.

    With workers, batches are made ahead in processes that survive a decoder's crash: the file is counted as bad. A
    process that is killed from outside, or stays at one file for `data.timeout_s`, ends the run, and the file is named.
    Frames decoded on a graphics card are decoded in this process, and stay there.

    Args:
        mixture: what clips are drawn from.
        batch_size: B.
        rank: of this process.
        world_size: processes that share the batch.
        workers: loader processes; 0 loads in this one, without protection.
        pin_memory: whether batches lie in page-locked memory, for copies to a graphics card.
        bad_files: a CSV file that is kept up to date with what was found bad, see `BadFiles.write`.

    Attributes:
        bad: the account of bad files, those found by the scan included.

    Raises:
        ConfigError: the batch cannot be shared equally.
    """

    def __init__(
        self,
        mixture: ClipSource,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
        bad_files: Path | None = None,
    ) -> None:
        if batch_size < 1 or batch_size % world_size:
            raise ConfigError(
                f"trainer.batch_size {batch_size} cannot be shared by {world_size} processes; give a multiple of that."
            )
        self.mixture, self.bad = mixture, mixture.bad
        self.entries = range(rank * batch_size // world_size, (rank + 1) * batch_size // world_size)
        self.on_cpu = mixture.config.decode_device == "cpu"
        self.workers = workers if self.on_cpu else 0
        self.pin_memory = pin_memory and self.on_cpu
        self.bad_files = bad_files

    def batches(self, start_step: int, steps: int) -> Iterator[ClipBatch]:
        """Yield the batches of the steps start_step, ..., steps - 1; `steps` is the run's number of steps.

        Raises:
            DataError: too many files turned out bad, or a process hung or was killed.
        """
        if self.bad_files is not None and len(self.bad):
            self.bad.write(self.bad_files)
        made = self._by_workers(start_step, steps) if self.workers else self._alone(start_step, steps)
        for step, (frames, rows) in enumerate(made, start=start_step):
            yield ClipBatch(
                frames=frames.squeeze(1) if self.mixture.views == 1 else frames,
                names=tuple(row.name for row in rows),
                labels=tuple(row.label for row in rows),
                bad=self._account(step, rows),
            )

    def _account(self, step: int, rows: list[_Row]) -> tuple[tuple[str, str], ...]:
        """Count what was found bad; return what was not known."""
        found = [clip for row in rows for clip in row.bad]
        new = [
            (clip.name, clip.reason)
            for clip in found
            if self.bad.add(clip.name, clip.reason, step, clip.rows)
        ]
        if new:
            if self.bad_files is not None:
                self.bad.write(self.bad_files)
            self.bad.check(self.mixture.total)
        return tuple(new)

    def _alone(self, start: int, steps: int) -> Iterator[tuple[Tensor, list[_Row]]]:
        for step in range(start, steps):
            clips = [self.mixture.clip(step, entry) for entry in self.entries]
            frames = torch.stack([clip.frames for clip in clips])
            rows = [_Row.of(clip) for clip in clips]
            yield (frames.pin_memory() if self.pin_memory else frames), rows

    def _by_workers(self, start: int, steps: int) -> Iterator[tuple[Tensor, list[_Row]]]:
        shares = self._shares()
        ahead = max(_AHEAD, math.ceil(2 * self.workers / len(shares)))
        slots = _Slots(min(ahead, max(steps - start, 1)), len(self.entries), self.mixture)
        under_way: dict[int, _UnderWay] = {}
        free, upcoming = deque(range(slots.count)), iter(range(start, steps))
        filler, timeout_s = _Filler(self.mixture, slots), self.mixture.config.timeout_s
        with WorkerPool[_Task, _Done](filler, self.workers, timeout_s) as pool:

            def give_out() -> None:
                while free and (step := next(upcoming, None)) is not None:
                    under_way[step] = _UnderWay(free.popleft(), len(shares), [None] * len(self.entries))
                    for number, share in enumerate(shares):
                        # Shares go round, so that few long ones do not always meet the same process.
                        worker = (step * len(shares) + number) % self.workers
                        pool.submit(worker, _Task(step, under_way[step].slot, self.entries, share))

            for step in range(start, steps):
                give_out()
                while under_way[step].missing:
                    done = pool.receive()
                    under_way[done.step].take(done)
                batch = under_way.pop(step)
                frames = slots.frames(batch.slot, self.mixture.shape(step))
                # Copied, since the slot is filled again while training computes.
                copy = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=self.pin_memory).copy_(frames)
                free.append(batch.slot)
                give_out()
                yield copy, [row for row in batch.rows if row is not None]

    def _shares(self) -> list[range]:
        """Return the places of the batch that go to one process together: neighbours of one video stay together."""
        together = self.mixture.config.clips_per_video
        count = len(self.entries)
        most = max(math.ceil(count / self.workers / together), 1) * together
        return [range(first, min(first + most, count)) for first in range(0, count, most)]


@dataclass(frozen=True)
class _Row:
    """What is known of a clip besides its frames."""

    name: str
    label: str
    bad: tuple[BadClip, ...]

    @classmethod
    def of(cls, clip: Clip) -> _Row:
        return cls(clip.name, clip.label, clip.bad)


@dataclass(frozen=True)
class _Task:
    """Make the clips at the places `share` of a step's entries, into `slot`."""

    step: int
    slot: int
    entries: range
    share: range


@dataclass(frozen=True)
class _Done:
    step: int
    share: range
    rows: list[_Row]


@dataclass
class _UnderWay:
    slot: int
    missing: int
    rows: list[_Row | None] = field(default_factory=list)

    def take(self, done: _Done) -> None:
        for place, row in zip(done.share, done.rows, strict=True):
            self.rows[place] = row
        self.missing -= 1


class _Slots:
    """Memory for some batches that all processes see."""

    def __init__(self, count: int, batch: int, mixture: ClipSource) -> None:
        self.count, self._batch = count, batch
        self._bytes = batch * math.prod(mixture.largest_shape)
        self._memory: Any = multiprocessing.get_context().RawArray(ctypes.c_uint8, count * self._bytes)

    def frames(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """Return the frames of a batch, uint8 [b,V,T,C,S,S], where they lie."""
        whole = np.frombuffer(self._memory, np.uint8)
        part = whole[slot * self._bytes :][: self._batch * math.prod(shape)]
        return torch.from_numpy(part.reshape(self._batch, *shape))


@dataclass(frozen=True)
class _Filler:
    """What a loader process does."""

    mixture: ClipSource
    slots: _Slots

    def __call__(self, task: _Task, failed: Mapping[Key, str], current: CurrentItem) -> _Done:
        frames = self.slots.frames(task.slot, self.mixture.shape(task.step))
        rows = []
        for place in task.share:
            entry = task.entries[place]

            def watch(attempt: int, name: str, entry: int = entry) -> str | None:
                key = (task.step, entry, attempt)
                current.write(key, name)
                return failed.get(key)

            clip = self.mixture.clip(task.step, entry, watch)
            frames[place].copy_(clip.frames)
            rows.append(_Row.of(clip))
        return _Done(task.step, task.share, rows)
