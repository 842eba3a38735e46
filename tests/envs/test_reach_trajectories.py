"""Reach's episodes are those of its first release: shipped models and recorded results were made with them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from tests.envs.reach_trajectories import EPISODES, RECORDED, play, renderer

recorded: dict[str, Any] = json.loads(RECORDED.read_text())


@pytest.mark.parametrize("index", range(len(EPISODES)))
def test_an_episode_of_reach_is_the_recorded_one(index: int) -> None:
    now, then = play(*EPISODES[index]), recorded["episodes"][index]
    np.testing.assert_allclose(now["states"], then["states"], atol=1e-6)
    for info, expected in zip(now["infos"], then["infos"], strict=True):
        np.testing.assert_allclose(info, expected, atol=1e-6)
    np.testing.assert_allclose(now["blocks"], then["blocks"], atol=1)
    if renderer() == recorded["renderer"]:
        assert now["digest"] == then["digest"]
