"""Reading windows from random positions of a LeRobotDataset with several processes: windows/s, with exact frames.

Shapes: T = 8 frames of a window, C = 3 channels (RGB), H W pixels.
"""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from vjepa_world.bench import BenchConfig
from vjepa_world.bench.harness import Row, row
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.video.reader import open_video
from vjepa_world.errors import ConfigError

WINDOW, SIDE, FPS, ROWS = 8, 128, 10, 100

#: Processes that read, and the windows/s that they should reach.
READERS, MIN_WINDOWS_PER_S = 2, 40.0

BATCH, WINDOWS, MAX_REPEATS = 8, 400, 3


def import_decord() -> ModuleType:
    """Return the module decord, whose frames and speed ours are compared with.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import decord
    except ImportError as error:
        raise ConfigError("this benchmark compares with decord: pip install 'vjepa-world[decord]'") from error
    module: ModuleType = decord
    return module


def windows_row(scratch: Path, videos: list[Path], config: BenchConfig) -> Row:
    """Return windows/s from a LeRobotDataset whose episodes show the videos, compared with the target.

    Raises:
        RuntimeError: A window's frames differ from those of decoding the whole files.
    """
    dataset = write_trajectories(scratch / "trajectories", videos)
    seeds = range(config.seed, config.seed + min(config.repeats, MAX_REPEATS))
    rates = [windows_per_second(dataset, WINDOWS, seed) for seed in seeds]
    name = f"windows of {WINDOW} frames of {SIDE} pixels, {READERS} processes, compared with the target"
    return row(name, median(rates), MIN_WINDOWS_PER_S, "windows/s")


def windows_per_second(path: Path, count: int, seed: int) -> float:
    """Return how many windows of consecutive rows are read per second.

    Args:
        path: The dataset's folder; it has one camera, and its videos contain its episodes only.
        count: Number of windows to read.
        seed: Seed of their positions.

    Raises:
        RuntimeError: A window's frames differ from those of decoding the whole files.
    """
    windows = _Windows(path, count, seed)
    loader = DataLoader(
        cast("Dataset[Tensor]", windows), batch_size=BATCH, num_workers=READERS, drop_last=True
    )
    warm_up = 2 * READERS  # batches that are read while processes start
    read, start = [], 0.0
    for number, batch in enumerate(loader):
        if number == warm_up:
            start = time.perf_counter()
        read.append(batch)
    seconds = time.perf_counter() - start
    _compare(path, windows, torch.cat(read))
    return (len(read) - warm_up - 1) * BATCH / seconds


def write_trajectories(path: Path, videos: list[Path]) -> Path:
    """Write the middle of each video as an episode, and return the dataset's folder."""
    spec = DatasetSpec(
        fps=FPS,
        state_names=("x", "y"),
        action_names=("dx", "dy"),
        robot_type="none",
        cameras={"main": VideoSpec.encoded(SIDE, SIDE, FPS)},
    )
    writer = LeRobotWriter(path, spec)
    with writer.shard(0) as shard:
        for number, file in enumerate(videos):
            video = open_video(file)
            frames = video.frames_at((np.arange(ROWS) + 0.25) / FPS)
            video.close()
            top, left = ((size - SIDE) // 2 for size in frames.shape[-2:])
            middle = frames[..., top : top + SIDE, left : left + SIDE].permute(0, 2, 3, 1).numpy()
            states = np.random.default_rng(number).normal(size=(ROWS, 2)).astype(np.float32)
            shard.add_episode(middle, states, np.diff(states, axis=0), task="look")
    return writer.finalize()


class _Windows:
    """Windows at random positions, uint8 `[T, C, H, W]` each."""

    def __init__(self, path: Path, count: int, seed: int) -> None:
        self.dataset = LeRobotDataset(path)
        self.lengths = [len(self.dataset.episode(index)) for index in range(self.dataset.num_episodes)]
        generator = np.random.default_rng(seed)
        self.episodes = generator.choice(np.flatnonzero(np.array(self.lengths) >= WINDOW), count)
        self.firsts = [generator.integers(self.lengths[episode] - WINDOW + 1) for episode in self.episodes]

    def __len__(self) -> int:
        return len(self.firsts)

    def __getitem__(self, index: int) -> Tensor:
        rows = self.firsts[index] + np.arange(WINDOW)
        return self.dataset.episode(int(self.episodes[index])).frames(rows)


def _compare(path: Path, windows: _Windows, read: Tensor) -> None:
    """Compare windows `[B, T, C, H, W]` with decord's frames of the whole files, decoded sequentially."""
    decord = import_decord()

    starts = np.concatenate([[0], np.cumsum(windows.lengths)])
    requested: dict[int, list[tuple[int, int]]] = {}
    for number in range(len(read)):
        first = int(starts[windows.episodes[number]] + windows.firsts[number])
        for t in range(WINDOW):
            requested.setdefault(first + t, []).append((number, t))
    position = 0
    for file in sorted(path.glob("videos/**/*.mp4")):
        reader = decord.VideoReader(str(file), ctx=decord.cpu(0), num_threads=1)
        for _ in range(len(reader)):
            frame = torch.from_numpy(reader.next().asnumpy()).permute(2, 0, 1)
            for number, t in requested.get(position, ()):
                if not torch.equal(read[number, t], frame):
                    raise RuntimeError(f"window {number}, frame {t}: it is not frame {position} of {path}")
            position += 1
    if position != starts[-1]:
        raise RuntimeError(f"the videos of {path} have {position} frames, expected {starts[-1]}, one per row")
