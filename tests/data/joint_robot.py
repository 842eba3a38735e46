"""An SO-100-like arm of six joints as a LeRobotDataset: positions in degrees, actions the next positions."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vjepa_world.data.trajectories.formats.lerobot.layout import DatasetSpec, VideoSpec
from vjepa_world.data.trajectories.formats.lerobot.writer import LeRobotWriter
from vjepa_world.ops.convention import PLAIN, Convention

JOINTS = (
    "shoulder_pan.pos",
    "shoulder_lift.pos",
    "elbow_flex.pos",
    "wrist_flex.pos",
    "wrist_roll.pos",
    "gripper.pos",
)
SIZE, FPS, ROWS = 64, 10.0, 12

#: The furthest that each joint goes in a row [degrees].
MOST = np.array([3.0, 2.0, 2.0, 1.0, 4.0, 5.0])


def joint_episode(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return frames uint8 `[T,H,W,3]`, joints and targets float32 `[T,6]`; each target is the next row's joints."""
    rng = np.random.default_rng(index)
    steps = rng.uniform(-MOST, MOST, (ROWS, 6))
    joints = (rng.uniform(-20, 20, 6) + np.concatenate([np.zeros((1, 6)), steps.cumsum(axis=0)])).astype(
        np.float32
    )
    at = (np.arange(SIZE) + 0.5 - SIZE / 2)[None]
    hills = [np.exp(-((at - joints[:-1, k, None]) ** 2) / 400) for k in (0, 1)]
    frames = (40 + 200 * hills[1][:, :, None] * hills[0][:, None, :]).astype(np.uint8)
    return np.repeat(frames[..., None], 3, axis=3), joints[:-1], joints[1:]


def write_joint_dataset(
    root: Path, *, episodes: int = 6, convention: Convention = PLAIN, deltas: bool = False
) -> Path:
    """Write the dataset; with `deltas` actions are the changes of the joints, and named so."""
    names = tuple(f"delta_{name.removesuffix('.pos')}" for name in JOINTS) if deltas else JOINTS
    spec = DatasetSpec(
        fps=FPS,
        state_names=JOINTS,
        action_names=names,
        robot_type="so100",
        cameras={"front": VideoSpec.encoded(SIZE, SIZE, FPS)},
        convention=convention,
    )
    writer = LeRobotWriter(root, spec)
    with writer.shard(0) as shard:
        for index in range(episodes):
            frames, joints, targets = joint_episode(index)
            actions = targets - joints if deltas else targets
            shard.add_episode(frames, joints, actions[:-1], task="reach")
    return writer.finalize()
