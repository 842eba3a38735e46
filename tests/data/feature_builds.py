"""Features of a small dataset from a small computation; also run as a separate process that builds them.

python -m tests.data.feature_builds DATASET ROOT PAUSE_S
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.data.coded_video import SIZE, coded_frame
from vjepa_world.data.features import shards as feature_shards
from vjepa_world.data.features.cache import FeatureKey, FeatureStore, build_features
from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.reader import LeRobotDataset
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.ops.convention import Convention

TOKENS, WIDTH = 16, 8

#: Of the episodes, by the video file that they lie in.
LENGTHS = ((12, 7, 9), (8, 11))

#: Shards of 19, 17 and 11 frames.
SHARD_FRAMES = 16


def write_dataset(path: Path) -> Path:
    """Write five episodes in two video files."""
    spec = DatasetSpec(
        fps=5.0,
        state_names=("x", "y"),
        action_names=("dx",),
        robot_type="test_arm",
        cameras={"main": VideoSpec.encoded(SIZE, SIZE, 5.0)},
    )
    writer = LeRobotWriter(path, spec)
    for file, lengths in enumerate(LENGTHS):
        with writer.shard(file) as shard:
            for number, length in enumerate(lengths):
                codes = 100 * file + 30 * number + np.arange(length)
                frames = np.stack([coded_frame(code) for code in codes.tolist()])
                rng = np.random.default_rng(int(codes[0]))
                states, actions = rng.normal(size=(length, 2)), rng.normal(size=(length - 1, 1))
                shard.add_episode(frames, states, actions, task="count")
    return writer.finalize()


def encode(frames: Tensor) -> Tensor:
    """Return the mean colours of 4 x 4 patches through a fixed layer, `[M, 16, 8]`."""
    patches = torch.nn.functional.adaptive_avg_pool2d(frames.float() / 255, 4).flatten(2).transpose(1, 2)
    weights = torch.randn(3, WIDTH, generator=torch.Generator().manual_seed(0))
    return torch.sin(3 * patches @ weights)


class Counting:
    """Counts the frames that are encoded, and the largest batch."""

    def __init__(self, pause_s: float = 0.0) -> None:
        self.frames, self.most, self.pause_s = 0, 0, pause_s

    def __call__(self, frames: Tensor) -> Tensor:
        self.frames += len(frames)
        self.most = max(self.most, len(frames))
        time.sleep(self.pause_s)
        return encode(frames)


class TwoCameras:
    """A dataset with a second, mirrored camera."""

    format = "two cameras"

    def __init__(self, path: Path) -> None:
        self.inner = LeRobotDataset(path)
        self.path, self.num_episodes, self.fps = self.inner.path, self.inner.num_episodes, self.inner.fps
        self.state_names, self.action_names = self.inner.state_names, self.inner.action_names
        self.cameras = (*self.inner.cameras, "mirror")

    @property
    def convention(self) -> Convention:
        return self.inner.convention

    @property
    def about(self) -> Mapping[str, Any]:
        return self.inner.about

    def episode(self, index: int) -> Trajectory:
        episode = self.inner.episode(index)

        def load(camera: str, rows: np.ndarray) -> Tensor:
            frames = episode.frames(rows)
            return frames.flip(-1) if camera == "mirror" else frames

        return dataclasses.replace(episode, cameras=self.cameras, load_frames=load)

    def fingerprint(self) -> str:
        return self.inner.fingerprint()

    def close(self) -> None:
        self.inner.close()


def key_of(dataset: LeRobotDataset | TwoCameras, /, **changes: Any) -> FeatureKey:
    parts: dict[str, Any] = {
        "encoder": "e1",
        "preprocessing": "0 to 1",
        "dataset": dataset.fingerprint(),
        "cameras": dataset.cameras,
        "tokens": TOKENS,
        "width": WIDTH,
    }
    return FeatureKey(**{**parts, **changes})


def build(
    dataset: LeRobotDataset | TwoCameras,
    root: Path,
    encoder: Callable[[Tensor], Tensor] = encode,
    *,
    key: FeatureKey | None = None,
    **changes: Any,
) -> FeatureStore:
    settings = {"workers": 0, "batch_frames": 5, "max_bad_fraction": 0.0, "limit_gb": 1.0, **changes}
    return build_features(dataset, encoder, key or key_of(dataset), root=root, **settings)


def main() -> None:
    """Build as one of the processes that the environment variables declare."""
    import torch.distributed as dist

    from vjepa_world.training.engine.distributed import process_group

    feature_shards.SHARD_FRAMES = SHARD_FRAMES
    place, root, pause_s = sys.argv[1:]
    with process_group(torch.device("cpu"), 60.0) as ranks:
        barrier = dist.barrier if ranks.world_size > 1 else lambda: None
        encoder = Counting(float(pause_s))
        ranks_ = (ranks.rank, ranks.world_size)
        store = build(LeRobotDataset(place), Path(root), encoder, ranks_=ranks_, barrier=barrier)
        sys.stdout.write(f"{store.folder.name} {encoder.frames}\n")


if __name__ == "__main__":
    main()
