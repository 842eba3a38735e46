"""Scenes of the simulated arm with labels: the positions of gripper and object, the direction of movement.

Legend: S scenes, T = 4 frames a quarter of a second apart, C channels, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from vjepa_world.errors import DataError
from vjepa_world.system.progress import track

if TYPE_CHECKING:
    from torch import Tensor

    from envs import ArmEnv

#: The ways that the gripper is moved, one a scene.
DIRECTIONS = ("forward", "back", "left", "right", "up", "down")

FRAMES = 4

#: Objects lie between these corners [m]: all that part of the table is in the picture from every camera.
IN_SIGHT = ((0.3, -0.3), (0.65, 0.3))
_MOST_RESETS = 1000  # until one with an object there counts as impossible
_STEP_M = 0.05


@dataclass(frozen=True)
class SceneClips:
    """Recorded scenes.

    Attributes:
        clips: `[S, T, C, H, W]` uint8; in the first frame the arm stands still.
        gripper: Its position in the first frame, `[S, 3]` [m].
        object: Where the one object on the table lies, `[S, 2]` [m].
        direction: Which of :data:`DIRECTIONS` the gripper is moved in, `[S]`.
    """

    clips: Tensor
    gripper: Tensor
    object: Tensor
    direction: Tensor


def record_scenes(variation: str, count: int, seed: int, image_size: int) -> SceneClips:
    """Record scenes with one object each, the gripper moved one way from where it stands.

    A move starts where all directions are possible, so that the position does not give the direction away.

    Args:
        variation: train, or test for scenes whose colours, textures, light and cameras are disjoint from those.
        count: S.
        seed: Draws the scenes.
        image_size: H and W.
    """
    import torch

    from envs import ArmEnv, Variation

    margin = FRAMES * _STEP_M / 2
    plain = Variation.named(variation)
    low, high = np.array(plain.start_low_m) + margin, np.array(plain.start_high_m) - margin
    shifted = replace(
        plain,
        clutter_count=(1, 1),
        start_low_m=tuple(np.minimum(low, high)),
        start_high_m=tuple(np.maximum(low, high)),
    )
    env = ArmEnv("reach", variation=shifted, image_size=image_size, max_steps=FRAMES)
    rng = np.random.default_rng(seed)
    clips, gripper, objects, directions = [], [], [], []
    for _ in track(range(count), f"{variation} scenes", unit="scene"):
        observation, info = _reset_in_sight(env, rng)
        way = int(rng.integers(len(DIRECTIONS)))
        action = np.zeros(7, np.float32)
        action[way // 2] = _STEP_M * (1 if way % 2 == 0 else -1)
        frames = [observation["image"]]
        gripper.append(observation["state"][:3])
        objects.append(info["scene"].clutter[0].position_m)
        directions.append(way)
        frames += [env.step(action)[0]["image"] for _ in range(FRAMES - 1)]
        clips.append(np.stack(frames))
    env.close()
    return SceneClips(
        torch.from_numpy(np.stack(clips)).permute(0, 1, 4, 2, 3).contiguous(),
        torch.from_numpy(np.stack(gripper)),
        torch.tensor(objects, dtype=torch.float32),
        torch.tensor(directions),
    )


def _reset_in_sight(env: ArmEnv, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    for _ in range(_MOST_RESETS):
        observation, info = env.reset(seed=int(rng.integers(2**31)))
        position = np.array(info["scene"].clutter[0].position_m)
        if (position >= IN_SIGHT[0]).all() and (position <= IN_SIGHT[1]).all():
            return observation, info
    raise DataError(
        f"{_MOST_RESETS} scenes in a row have no object from {IN_SIGHT[0]} to {IN_SIGHT[1]} m. Compare with scenes "
        "whose clutter may lie there."
    )
