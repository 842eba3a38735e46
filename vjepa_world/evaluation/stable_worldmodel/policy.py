"""A policy of ours as stable-worldmodel's `World` takes it.

Legend: n environments, A action size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vjepa_world.errors import ConfigError
from vjepa_world.planning.policy import Policy, Problem


class WorldPolicy:
    """Acts in a `World` with a policy of this project, such as the planner of a checkpoint.

    `world.set_policy(policy)` begins new episodes; call it before each `world.evaluate(dataset=...)`. Each environment
    has random numbers of its own, so that its actions do not depend on the others.

    Args:
        policy: Plans for all environments together.
        state: Columns of the infos that are the state, as `WorldSpec.state`; () for none.
        seed: Of all randomness.
    """

    def __init__(self, policy: Policy, state: Sequence[str], *, seed: int = 0) -> None:
        self.policy, self.state = policy, tuple(state)
        self._seed, self._begun = seed, 0
        self._running: list[int] = []
        self._is_new = True

    def set_env(self, envs: Any) -> None:
        """Begin new episodes in the environments of a pool."""
        self._envs = envs
        self._is_new = True

    def get_action(self, infos: Mapping[str, Any], **_: Any) -> np.ndarray:
        """Return an action for each environment, float32 `[n, A]`; zeros where the episode has ended.

        Args:
            infos: Of the world: `pixels` and `goal`, uint8 `[n, 1, H, W, 3]`, and the columns of the state.

        Raises:
            ConfigError: If the world resets single environments, as `World.evaluate(episodes=...)` does.
        """
        if np.any(infos.get("_needs_flush", False)):
            raise ConfigError(
                "the world resets environments one by one, which has no goals from a dataset; run "
                "World.evaluate(dataset=...)."
            )
        if self._is_new:
            self._begin(infos)
        self._leave_out(np.asarray(infos["terminated"]).reshape(self._envs.num_envs))
        space = self._envs.single_action_space
        actions = np.zeros((self._envs.num_envs, *space.shape), np.float32)
        if self._running:
            actions[self._running] = self.policy.act([self._observation(infos, env) for env in self._running])
        return actions

    def _begin(self, infos: Mapping[str, Any]) -> None:
        count = self._envs.num_envs
        self.policy.reset(
            [
                Problem(
                    goal_image=np.asarray(infos["goal"][env, 0], np.uint8),
                    rng=np.random.default_rng([self._seed, self._begun + env]),
                )
                for env in range(count)
            ]
        )
        self._running, self._is_new = list(range(count)), False
        self._begun += count

    def _leave_out(self, ended: np.ndarray) -> None:
        """Continue without the environments whose episodes have ended."""
        kept = [index for index, env in enumerate(self._running) if not ended[env]]
        if len(kept) < len(self._running):
            self._running = [self._running[index] for index in kept]
            if kept:
                self.policy.select(kept)

    def _observation(self, infos: Mapping[str, Any], env: int) -> dict[str, np.ndarray]:
        found = {"image": np.asarray(infos["pixels"][env, 0], np.uint8)}
        if self.state:
            found["state"] = state_vector({name: infos[name][env] for name in self.state}, self.state)
        return found


def state_vector(row: Mapping[str, Any], columns: Sequence[str]) -> np.ndarray:
    """Return the numbers of some columns of a row as one vector, float32 `[S]`."""
    return np.concatenate([np.asarray(row[name], np.float32).reshape(-1) for name in columns])
