"""Correct in-memory trajectories of a randomly moving arm, which tests modify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vjepa_world.data.trajectories.trajectory import Trajectory
from vjepa_world.errors import DataError
from vjepa_world.ops.convention import Convention
from vjepa_world.ops.pose import apply_action, from_pose, pose_delta

FPS = 5.0


def random_poses(seed: int, rows: int = 60) -> Tensor:
    """Return our poses of a gripper that points down and wanders, float64 [T,7]; it closes and opens by turns."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.rand(rows - 1, 7, generator=generator, dtype=torch.float64) * 2 - 1
    steps *= torch.tensor([0.03, 0.03, 0.02, 0.1, 0.1, 0.2, 0.0])
    pose = torch.tensor([0.45, 0.0, 0.3, torch.pi, 0.0, 0.3 * seed, 0.0], dtype=torch.float64)
    poses = [pose]
    for row, step in enumerate(steps):
        step[6] = 0.25 if row // 10 % 2 else -0.25
        pose = apply_action(pose, step)
        poses.append(pose)
    return torch.stack(poses)


def make_trajectory(
    index: int,
    states: np.ndarray,
    actions: np.ndarray,
    *,
    frames: Mapping[str, np.ndarray] | None = None,
    **changes: Any,
) -> Trajectory:
    """Return an episode; frames are uint8 [T,C,H,W] by camera."""
    pictures = frames or {}

    def load(camera: str, rows: np.ndarray) -> Tensor:
        if rows.max() >= len(pictures[camera]):
            raise DataError(f"video {camera}.mp4 ends before row {rows.max()}")
        return torch.from_numpy(pictures[camera][rows])

    fields: dict[str, Any] = {
        "index": index,
        "name": f"episode {index} of arm",
        "fps": FPS,
        "states": states,
        "actions": actions,
        "timestamps_s": np.arange(len(states)) / FPS,
        "cameras": tuple(pictures),
        "load_frames": load,
    }
    return Trajectory(**(fields | changes))


def arm_episodes(convention: Convention, count: int = 6, rows: int = 60) -> list[Trajectory]:
    """Return episodes whose states, and actions where the convention makes something of them, are written so."""
    episodes = []
    for index in range(count):
        poses = random_poses(index, rows)
        states = from_pose(poses, convention)
        actions = states[1:] if convention.actions == "target" else pose_delta(poses[:-1], poses[1:])
        episodes.append(
            make_trajectory(index, states.numpy().astype(np.float32), actions.numpy().astype(np.float32))
        )
    return episodes
