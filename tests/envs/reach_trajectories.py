"""Seeded episodes of Reach, and what was recorded of them when the task was part of its environment.

`python -m tests.envs.reach_trajectories` records them again: right only for a change that is meant to alter Reach.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from envs import ArmEnv

RECORDED = Path(__file__).with_name("reach_trajectories.json")
_GOAL = [0.4, 0.2, 0.1, np.pi, 0.0, 0.1, 0.5]
_START = [0.6, -0.2, 0.3, np.pi, 0.0, -0.1, 0.1]
#: Arguments of the constructor, seed and options of each episode.
EPISODES: tuple[tuple[dict[str, Any], int, dict[str, Any] | None], ...] = (
    *(({"variation": "train"}, seed, None) for seed in range(4)),
    *(({"variation": "test"}, seed, None) for seed in range(4)),
    ({"variation": "none"}, 0, None),
    ({"variation": "test", "camera": "fixed", "image_size": 64}, 7, None),
    ({"variation": "train", "image_size": 96}, 8, {"goal_state": _GOAL, "start_state": _START}),
    ({"variation": "test"}, 9, {"goal_state": _GOAL}),
)
STEPS = 6


def play(arguments: dict[str, Any], seed: int, options: dict[str, Any] | None) -> dict[str, Any]:
    """Return the numbers of one episode, the brightness of its images in coarse blocks, and their digest."""
    env = ArmEnv("reach", **arguments)
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed, options=options)
    images, states = [info["goal_image"], observation["image"]], [info["goal_state"], observation["state"]]
    infos = [_numbers(info)]
    for _ in range(STEPS):
        action = rng.uniform(env.action_space.low, env.action_space.high).astype(np.float32)
        observation, reward, terminated, truncated, info = env.step(action)
        images.append(observation["image"])
        states.append(observation["state"])
        infos.append([*_numbers(info), float(reward), float(terminated), float(truncated)])
    observation, info = env.reset()  # continues the random sequence
    images += [info["goal_image"], observation["image"]]
    states += [info["goal_state"], observation["state"]]
    env.close()
    return {
        "states": [state.tolist() for state in states],
        "infos": infos,
        "blocks": [_blocks(image) for image in images],
        "digest": hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest(),
    }


def renderer() -> str:
    """Return the name of the OpenGL renderer: another one draws slightly other pictures."""
    from mujoco.egl import GLContext

    gl = importlib.import_module("OpenGL.GL")  # has no types
    context = GLContext(16, 16)
    context.make_current()
    name = str(gl.glGetString(gl.GL_RENDERER).decode())
    context.free()
    return name


def _numbers(info: dict[str, Any]) -> list[float]:
    flags = ("success", "action_clipped", "workspace_clipped", "reached")
    return [info["distance"], *(float(info[name]) for name in flags), *info["commanded_position"].tolist()]


def _blocks(image: np.ndarray) -> list[int]:
    """Return the mean brightness of 4 x 4 blocks."""
    size = image.shape[0] // 4
    return image.reshape(4, size, 4, size, 3).mean(axis=(1, 3, 4)).round().astype(int).ravel().tolist()


if __name__ == "__main__":
    RECORDED.write_text(
        json.dumps({"renderer": renderer(), "episodes": [play(*case) for case in EPISODES]}) + "\n"
    )
