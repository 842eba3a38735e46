"""Loads the batches of a clip mixture in worker processes; the batch of any step can be loaded without earlier ones.

Shapes: B clips of the global batch, b = B / world size of this process's, V views of each, T frames of a view, C = 3
channels (RGB), S pixels of its square images.
"""

from __future__ import annotations

import ctypes
import logging
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
from vjepa_world.data.loading.worker_pool import CurrentItem, ItemKey, WorkerPool
from vjepa_world.errors import ConfigError, counted

logger = logging.getLogger(__name__)

#: Least number of batches that are made ahead.
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
        """Return `[V, T, C, S, S]` of the clips of a step."""
        ...

    @property
    def largest_shape(self) -> tuple[int, int, int, int, int]:
        """Return `[V, T, C, S, S]` of the longest clips."""
        ...

    def clip(self, step: int, entry: int, watch: Watch | None = None) -> Clip:
        """Return entry `entry` of step `step`."""
        ...


class ClipLoader:
    """Loads the batches of any step: rank r has the entries r*b, ..., (r+1)*b - 1 of each.

    With workers, batches are made ahead in processes that survive a crashing decoder; its file counts as bad. A worker
    that is killed from outside, or reads one file for longer than `data.timeout_s`, ends the run with an error that
    names the file. On a graphics card frames are decoded in this process, and stay there.

    Args:
        mixture: The mixture from which clips are drawn.
        batch_size: B.
        rank: Of this process.
        world_size: Number of processes that share the batch.
        workers: Loader processes; 0 loads in this process, without protection from crashes.
        pin_memory: Whether batches lie in page-locked memory, for copies to a graphics card.
        bad_files: A CSV file that lists the bad files, see `BadFiles.write`.

    Attributes:
        bad: The bad files, those found by the scan included.

    Raises:
        ConfigError: The batch cannot be shared equally.
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
        """Yield the batches of the steps start_step, ..., steps - 1.

        Raises:
            DataError: Too many files are bad, or a worker hung or was killed.
        """
        if self.bad_files is not None and len(self.bad):
            self.bad.write(self.bad_files)
            count = len(self.bad.reasons)
            logger.warning(
                "%s %s listed in %s",
                counted(count, "bad file"),
                "is" if count == 1 else "are",
                self.bad_files,
            )
        made = (
            self._in_workers(start_step, steps) if self.workers else self._in_this_process(start_step, steps)
        )
        for step, (frames, rows) in enumerate(made, start=start_step):
            yield ClipBatch(
                frames=frames.squeeze(1) if self.mixture.views == 1 else frames,
                names=tuple(row.name for row in rows),
                labels=tuple(row.label for row in rows),
                bad=self._record_bad(step, rows),
            )

    def _record_bad(self, step: int, rows: list[_Row]) -> tuple[tuple[str, str], ...]:
        """Count the bad files of a batch; return the new ones."""
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

    def _in_this_process(self, start: int, steps: int) -> Iterator[tuple[Tensor, list[_Row]]]:
        for step in range(start, steps):
            clips = [self.mixture.clip(step, entry) for entry in self.entries]
            frames = torch.stack([clip.frames for clip in clips])
            rows = [_Row.of(clip) for clip in clips]
            yield (frames.pin_memory() if self.pin_memory else frames), rows

    def _in_workers(self, start: int, steps: int) -> Iterator[tuple[Tensor, list[_Row]]]:
        shares = self._shares()
        ahead = max(_AHEAD, math.ceil(2 * self.workers / len(shares)))
        slots = _Slots(min(ahead, max(steps - start, 1)), len(self.entries), self.mixture)
        pending: dict[int, _PendingBatch] = {}
        free, upcoming = deque(range(slots.count)), iter(range(start, steps))
        filler, timeout_s = _Filler(self.mixture, slots), self.mixture.config.timeout_s
        with WorkerPool[_Task, _Done](filler, self.workers, timeout_s) as pool:

            def submit() -> None:
                while free and (step := next(upcoming, None)) is not None:
                    pending[step] = _PendingBatch(free.popleft(), len(shares), [None] * len(self.entries))
                    for number, share in enumerate(shares):
                        # Shares rotate, so that long ones do not always go to the same worker.
                        worker = (step * len(shares) + number) % self.workers
                        pool.submit(worker, _Task(step, pending[step].slot, self.entries, share))

            for step in range(start, steps):
                submit()
                while pending[step].missing:
                    done = pool.receive()
                    pending[done.step].take(done)
                batch = pending.pop(step)
                frames = slots.frames(batch.slot, self.mixture.shape(step))
                # Copied, since the slot is filled again while training computes.
                copy = torch.empty(frames.shape, dtype=frames.dtype, pin_memory=self.pin_memory).copy_(frames)
                free.append(batch.slot)
                submit()
                yield copy, [row for row in batch.rows if row is not None]

    def _shares(self) -> list[range]:
        """Return the ranges of the batch that go to one worker each; clips of one video stay together."""
        together = self.mixture.config.clips_per_video
        count = len(self.entries)
        most = max(math.ceil(count / self.workers / together), 1) * together
        return [range(first, min(first + most, count)) for first in range(0, count, most)]


@dataclass(frozen=True)
class _Row:
    """A clip without its frames."""

    name: str
    label: str
    bad: tuple[BadClip, ...]

    @classmethod
    def of(cls, clip: Clip) -> _Row:
        return cls(clip.name, clip.label, clip.bad)


@dataclass(frozen=True)
class _Task:
    """Make the clips at the indices `share` of a step's entries, into a slot of the shared memory."""

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
class _PendingBatch:
    slot: int
    missing: int
    rows: list[_Row | None] = field(default_factory=list)

    def take(self, done: _Done) -> None:
        for index, row in zip(done.share, done.rows, strict=True):
            self.rows[index] = row
        self.missing -= 1


class _Slots:
    """Shared memory for several batches."""

    def __init__(self, count: int, batch: int, mixture: ClipSource) -> None:
        self.count, self._batch = count, batch
        self._bytes = batch * math.prod(mixture.largest_shape)
        self._memory: Any = multiprocessing.get_context().RawArray(ctypes.c_uint8, count * self._bytes)

    def frames(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """Return a view of the frames of a batch, uint8 [b,V,T,C,S,S]."""
        whole = np.frombuffer(self._memory, np.uint8)
        part = whole[slot * self._bytes :][: self._batch * math.prod(shape)]
        return torch.from_numpy(part.reshape(self._batch, *shape))


@dataclass(frozen=True)
class _Filler:
    """Does a task in a loader process."""

    mixture: ClipSource
    slots: _Slots

    def __call__(self, task: _Task, failed: Mapping[ItemKey, str], current: CurrentItem) -> _Done:
        frames = self.slots.frames(task.slot, self.mixture.shape(task.step))
        rows = []
        for index in task.share:
            entry = task.entries[index]

            def watch(attempt: int, name: str, entry: int = entry) -> str | None:
                key = (task.step, entry, attempt)
                current.write(key, name)
                return failed.get(key)

            clip = self.mixture.clip(task.step, entry, watch)
            frames[index].copy_(clip.frames)
            rows.append(_Row.of(clip))
        return _Done(task.step, task.share, rows)
