"""The true simulator as world model: what a perfect model would reach with a planner and an energy.

Legend: B episodes, S samples, K horizon, A action size, N tokens per frame, D feature width, P state size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from planners.protocols import Plan, Planner
from vjepa_world.evaluation.closed_loop.environment import action_for
from vjepa_world.models.world_model import LatentWorldModel
from vjepa_world.planning.cameras import side_by_side
from vjepa_world.planning.planner_policy import PlannerPolicy
from vjepa_world.planning.policy import Problem, state_of

#: Frames that are encoded at once.
_FRAMES_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class Moment:
    """The context of B episodes.

    Attributes:
        snapshots: The states of the environments.
        encoded: The context of the model whose encoder is used.
    """

    snapshots: Sequence[Any]
    encoded: Any


class SimulatorModel:
    """Imagines actions by executing them in the environment, and encodes the frames that follow.

    Only the predictor is replaced: encoder, goals, bounds and meaning of the actions are those of the model. Satisfies
    `planners.protocols.WorldModel`. Each imagined step costs a step of physics, a rendered frame and its encoding.

    Args:
        model: The world model.
        action_low: Lowest action of the environment, `[A]`.
        action_high: Highest action of the environment, `[A]`.

    Attributes:
        envs: The environments of the episodes that are planned for, B; each has `get_state` and `set_state`.
    """

    def __init__(self, model: LatentWorldModel, action_low: np.ndarray, action_high: np.ndarray) -> None:
        self.model = model
        self._low, self._high = action_low, action_high
        self.envs: Sequence[Any] = ()
        self.action_low, self.action_high = model.action_low, model.action_high
        self.action_type, self.action_step = model.action_type, model.action_step
        self.inverse, self.robot, self.views = model.inverse, model.robot, model.views
        self.goal_reader, self.state_spread = model.goal_reader, model.state_spread

    def encode(self, frames: Tensor, states: Tensor | None) -> Moment:
        """Encode observations, uint8 `[B, T, C, H, W]` and `[B, T, P]`, and remember the states of the environments."""
        return Moment([env.get_state() for env in self.envs], self.model.encode(frames, states))

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Encode goal images: uint8 `[B, C, H, W]` to `[B, N, D]`."""
        return self.model.encode_goal(frames)

    def hold_action(self, context: Moment) -> Tensor | None:
        """Return the actions that keep the robots where they are, `[B, A]`; None if not known."""
        return self.model.hold_action(context.encoded)

    def propose(self, context: Moment, goal: Tensor, horizon: int) -> Tensor:
        """Return the inverse model's actions, `[B, K, A]`."""
        return self.model.propose(context.encoded, goal, horizon)

    def read_goal_states(self, context: Moment, goal: Tensor) -> Tensor:
        """Return the states that the goal reader reads, `[B, P]`."""
        return self.model.read_goal_states(context.encoded, goal)

    def rollout(self, context: Moment, actions: Tensor) -> Tensor:
        """Return the features after each action: `[B, S, K, A]` to `[B, S, K, N, D]`."""
        return self.rollout_with_states(context, actions)[0]

    @torch.no_grad()
    def rollout_with_states(self, context: Moment, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features `[B, S, K, N, D]` and the states `[B, S, K, P]` after each action `[B, S, K, A]`.

        The environments are left as they were.
        """
        moves = actions.detach().float().cpu().numpy()
        imagined = [
            self._imagine(env, snapshot, of_episode)
            for env, snapshot, of_episode in zip(self.envs, context.snapshots, moves, strict=True)
        ]
        features, states = (torch.stack(part) for part in zip(*imagined, strict=True))
        return features.to(actions.device), states.to(actions.device)

    def _imagine(self, env: Any, snapshot: Any, moves: np.ndarray) -> tuple[Tensor, Tensor]:
        """Return the features `[S, K, N, D]` and the states `[S, K, P]` of one episode after actions `[S, K, A]`."""
        pending: list[np.ndarray] = []
        features: list[Tensor] = []
        states: list[np.ndarray] = []
        for sample in moves:
            env.set_state(snapshot)
            for action in sample:
                seen = env.step(action_for(env.action_space, np.clip(action, self._low, self._high)))[0]
                pending.append(side_by_side(seen, views=self.views))
                states.append(state_of(seen))
                if len(pending) == _FRAMES_AT_ONCE:
                    features.append(self._encoded(pending))
                    pending = []
        if pending:
            features.append(self._encoded(pending))
        env.set_state(snapshot)
        shape = moves.shape[:2]
        return torch.cat(features).unflatten(0, shape), torch.from_numpy(np.stack(states)).unflatten(0, shape)

    def _encoded(self, images: Sequence[np.ndarray]) -> Tensor:
        frames = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        return self.encode_goal(frames.to(self.model.device))


class SimulatorPolicy(PlannerPolicy):
    """Plans with a :class:`SimulatorModel`, in the environments of the running episodes."""

    model: SimulatorModel

    def reset(self, problems: Sequence[Problem]) -> None:
        """Imagine in the environments of these episodes from now on."""
        self._envs = [problem.env.unwrapped for problem in problems]
        super().reset(problems)

    def plan(self, planner: Planner, episodes: Sequence[int], pictures: Tensor, states: Tensor) -> Plan:
        """Return plans for some of the episodes, made in their environments."""
        self.model.envs = [self._envs[episode] for episode in episodes]
        return super().plan(planner, episodes, pictures, states)

    def select(self, problems: Sequence[int]) -> None:
        """Continue with some of the episodes alone."""
        self._envs = [self._envs[index] for index in problems]
        super().select(problems)


def can_imagine(env: Any) -> bool:
    """Return whether a simulator can be a world model: its state can be copied and put back, and it shows images."""
    inner = getattr(env, "unwrapped", env)
    has_state = callable(getattr(inner, "get_state", None)) and callable(getattr(inner, "set_state", None))
    return has_state and "image" in getattr(getattr(inner, "observation_space", None), "spaces", {})
