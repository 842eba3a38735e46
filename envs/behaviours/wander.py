"""Random motions that cover the workspace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from gymnasium import spaces

from envs.arm.limits import REACH_WORKSPACE, Workspace

#: Probability of each mode: straight runs, trips to a point, small jitter.
_MODE_WEIGHTS: Final = (0.40, 0.48, 0.12)
_RUN, _TRIP, _JITTER = range(3)
_JITTER_SCALE: Final = 0.25
_ARRIVED_M: Final = 0.015
#: Targets of trips are drawn from a box this much larger than the workspace and clipped to it: otherwise its faces
#: and corners would be visited too rarely.
_TRIP_MARGIN_M: Final = 0.06
#: Probability that a run bounces off a face of the workspace. In the other cases the arm pushes against it, which
#: shows no motion, but occurs in use as well.
_BOUNCE: Final = 0.7


class Explorer:
    """Moves through the whole workspace with actions that persist over several steps.

    It mixes straight runs in a random direction (1 to 4 steps, any speed up to the bounds), trips to a
    random point at full speed, and short jitter. By default only x, y and z move.

    Args:
        rng: Source of all randomness.
        action_space: The environment's action space: the bounds of the 7 entries.
        rotation_scale: Share of the rotation bounds that is used.
        closure_scale: Share of the closure bounds that is used.
        workspace: Where the arm may be sent.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        action_space: spaces.Box,
        *,
        rotation_scale: float = 0.0,
        closure_scale: float = 0.0,
        workspace: Workspace = REACH_WORKSPACE,
    ) -> None:
        self._low, self._top = workspace.command_low_m, workspace.command_high_m
        self._high = action_space.high.astype(np.float64)
        self._turn = np.concatenate([np.full(3, rotation_scale), [closure_scale]]) * self._high[3:]
        self.reset(rng)

    def reset(self, rng: np.random.Generator) -> None:
        """Start a new episode with a new random generator."""
        self._rng = rng
        self._left = 0
        self._mode = _RUN
        self._velocity = np.zeros(3)
        self._target = np.zeros(3)

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the next action, float32 `[7]`, within the bounds.

        Args:
            observation: The environment's; only `state` `[7]` is used.
        """
        position = np.asarray(observation["state"], np.float64)[:3]
        if self._left <= 0 or (self._mode == _TRIP and self._arrived(position)):
            self._begin()
        self._left -= 1
        delta = self._delta(position)
        extra = self._rng.uniform(-self._turn, self._turn)
        return np.clip(np.concatenate([delta, extra]), -self._high, self._high).astype(np.float32)

    def _begin(self) -> None:
        rng, high = self._rng, self._high[:3]
        self._mode = int(rng.choice(3, p=_MODE_WEIGHTS))
        if self._mode == _RUN:
            self._left = int(rng.integers(1, 5))
            self._velocity = rng.uniform(-high, high)
        elif self._mode == _TRIP:
            self._left = int(rng.integers(4, 11))
            beyond = rng.uniform(self._low - _TRIP_MARGIN_M, self._top + _TRIP_MARGIN_M)
            self._target = np.clip(beyond, self._low, self._top)
        else:
            self._left = int(rng.integers(1, 3))

    def _delta(self, position_m: np.ndarray) -> np.ndarray:
        high = self._high[:3]
        if self._mode == _RUN:
            ahead = position_m + self._velocity
            leaving = (ahead < self._low) | (ahead > self._top)
            if self._rng.uniform() < _BOUNCE:
                self._velocity = np.where(leaving, -self._velocity, self._velocity)
            return self._velocity
        if self._mode == _TRIP:
            return np.clip(self._target - position_m, -high, high)
        return self._rng.uniform(-high, high) * _JITTER_SCALE

    def _arrived(self, position_m: np.ndarray) -> bool:
        return bool(np.linalg.norm(self._target - position_m) < _ARRIVED_M)
