"""Scripted experts of the Fetch tasks: each action follows from the present scene alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

#: Actions per metre of error: an action of 1 is 5 cm.
_GAIN = 10.0
_OPEN, _CLOSE = 1.0, -1.0
#: Height above an object at which the gripper moves freely [m].
_CLEAR_M = 0.12
#: Distance behind an object from which it is pushed [m], and the largest offset to the side [m].
_BEHIND_M, _SIDE_M = 0.075, 0.012
#: A gripper within this distance of a place is there [m].
_THERE_M = 0.012


@dataclass(frozen=True)
class FetchScene:
    """Positions in a scene, each `[3]` [m].

    Attributes:
        gripper_m: Of the gripper.
        fingers_m: Of both fingers from the middle, `[2]`.
        object_m: Of the object.
        achieved_m: Of what is to reach the goal.
        goal_m: The goal.
    """

    gripper_m: np.ndarray
    fingers_m: np.ndarray
    object_m: np.ndarray
    achieved_m: np.ndarray
    goal_m: np.ndarray


class FetchExpert:
    """Acts on the simulation's positions, not on images.

    Args:
        scene: Returns the present scene.
    """

    def __init__(self, scene: Callable[[], FetchScene]) -> None:
        self._scene = scene

    def act(self, observation: Mapping[str, Any]) -> np.ndarray:
        """Return an action, float32 `[4]`; the observation is not used."""
        scene = self._scene()
        target_m, fingers = self._aim(scene)
        move = _GAIN * (target_m - scene.gripper_m)
        return np.append(np.clip(move, -1, 1), fingers).astype(np.float32)

    def _aim(self, scene: FetchScene) -> tuple[np.ndarray, float]:
        """Return where the gripper is to go, `[3]` [m], and what the fingers do."""
        raise NotImplementedError


class ReachExpert(FetchExpert):
    """Goes straight to the goal."""

    def _aim(self, scene: FetchScene) -> tuple[np.ndarray, float]:
        return scene.goal_m, _CLOSE


class PushExpert(FetchExpert):
    """Goes behind the object, above it where needed, and pushes it along the line to the goal."""

    def _aim(self, scene: FetchScene) -> tuple[np.ndarray, float]:
        way = (scene.goal_m - scene.object_m)[:2]
        direction = way / max(float(np.linalg.norm(way)), 1e-6)
        offset = (scene.gripper_m - scene.object_m)[:2]
        behind = -float(offset @ direction)
        side = float(np.linalg.norm(offset + behind * direction))
        low_m = scene.object_m[2]
        is_low = scene.gripper_m[2] < low_m + 0.03
        if np.linalg.norm(way) < 0.01:
            return scene.gripper_m, _CLOSE
        if is_low and behind > 0.03 and side < 2 * _SIDE_M:
            # The gripper leads by less near the goal, so that the object stops there.
            lead = min(0.08, 0.02 + float(np.linalg.norm(way)))
            onto_line = scene.object_m[:2] + direction * (lead - behind)
            return np.append(onto_line, low_m), _CLOSE
        start = scene.object_m[:2] - _BEHIND_M * direction
        if np.linalg.norm(scene.gripper_m[:2] - start) < _SIDE_M:
            return np.append(start, low_m), _CLOSE
        if scene.gripper_m[2] < low_m + 0.06:
            return np.append(scene.gripper_m[:2], low_m + _CLEAR_M), _CLOSE
        return np.append(start, low_m + _CLEAR_M), _CLOSE


class PickAndPlaceExpert(FetchExpert):
    """Goes above the object, down to it, closes the fingers and carries it to the goal."""

    def _aim(self, scene: FetchScene) -> tuple[np.ndarray, float]:
        offset = scene.object_m - scene.gripper_m
        if np.linalg.norm(offset) < 0.02 and scene.fingers_m.mean() < 0.027:
            return scene.goal_m, _CLOSE
        if np.linalg.norm(offset) < _THERE_M:
            return scene.object_m, _CLOSE
        if np.linalg.norm(offset[:2]) < _THERE_M:
            return scene.object_m, _OPEN
        return scene.object_m + np.array([0.0, 0.0, _CLEAR_M]), _OPEN


#: The expert of each task.
EXPERTS: dict[str, type[FetchExpert]] = {
    "Reach": ReachExpert,
    "Push": PushExpert,
    "PickAndPlace": PickAndPlaceExpert,
}
