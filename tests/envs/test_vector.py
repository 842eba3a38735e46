"""`gymnasium.make_vec`: several environments in one process, or one in each of several."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from envs import ENV_IDS, ArmEnv

SEEDS = [3, 8]


def alone(task: str, action: np.ndarray) -> list[tuple[dict[str, np.ndarray], dict[str, Any]]]:
    found = []
    for seed in SEEDS:
        env = ArmEnv(task, image_size=32)
        _, info = env.reset(seed=seed)
        observation, _, _, _, later = env.step(action)
        found.append((observation, info | {"later": later["distance"]}))
        env.close()
    return found


@pytest.mark.parametrize(("task", "mode"), [("grasp", "sync"), ("reach", "sync"), ("pick_place", "async")])
def test_vectorised_environments_do_what_single_ones_do(task: str, mode: str) -> None:
    # A forked process would share an OpenGL state that was never made for two.
    arguments = {"context": "spawn"} if mode == "async" else {}
    envs = gymnasium.make_vec(
        ENV_IDS[task], num_envs=2, vectorization_mode=mode, vector_kwargs=arguments, image_size=32
    )
    action = np.full((2, 7), 0.02, np.float32)
    _, infos = envs.reset(seed=SEEDS)  # type: ignore[arg-type]  # one seed each
    observations, _, _, _, later = envs.step(action)
    for index, (observation, info) in enumerate(alone(task, action[0])):
        for name, value in observation.items():
            np.testing.assert_array_equal(observations[name][index], value)
        np.testing.assert_array_equal(infos["goal_image"][index], info["goal_image"])
        assert later["distance"][index] == info["later"]
        assert bool(infos["factors"]["clutter"][index]) == info["factors"]["clutter"]
        if "subgoal_images" in info:
            np.testing.assert_array_equal(infos["subgoal_images"][index], info["subgoal_images"])
    envs.close()
