"""A small LeRobot dataset of noise for tests that read or train on one."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import vjepa_world as vw


def write_dataset(folder: Path, episodes: int = 6) -> None:
    """Write episodes of 8 frames of 64 pixels at 4 frames per second, with 2 states and 2 actions."""
    spec = vw.DatasetSpec(
        fps=4,
        state_names=("x", "y"),
        action_names=("dx", "dy"),
        robot_type="gantry",
        cameras={"top": vw.VideoSpec.encoded(64, 64, 4)},
    )
    writer = vw.LeRobotWriter(folder, spec)
    rng = np.random.default_rng(0)
    with writer.shard(0) as shard:
        for _ in range(episodes):
            actions = rng.uniform(-1, 1, (7, 2)).astype(np.float32)
            states = np.concatenate([np.zeros((1, 2), np.float32), actions.cumsum(0)])
            frames = rng.integers(256, size=(8, 64, 64, 3), dtype=np.uint8)
            shard.add_episode(frames, states, actions, task="move")
    writer.finalize()
