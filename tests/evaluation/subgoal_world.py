"""The box world with sub-goals: through a point on the way, and to the goal."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.evaluation.box_world import REACHED_M, BoxEnv, draw_dot


class SubGoalEnv(BoxEnv):
    """The first sub-goal is a point aside of the way; it counts once the box was within 4 cm of it."""

    def reset(self, **given: Any) -> tuple[Any, dict[str, Any]]:
        self.through, self.passed = np.array([0.5, 0.5]), False
        observation, info = super().reset(**given)
        images = np.stack([draw_dot(self.through), info["goal_image"]])
        return observation, info | {"subgoal_images": images, "subgoal_names": ("middle", "there")}

    def _info(self) -> dict[str, Any]:
        info = super()._info()
        self.passed = self.passed or float(np.linalg.norm(self.position - self.through)) < REACHED_M
        return info | {"subgoals_reached": np.array([self.passed, info["success"]])}
