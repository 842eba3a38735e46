"""A pose that each action is added to, seen as its products with many directions: an energy with a known valley.

The mean of |d . v| over evenly spread directions d is proportional to |v|, so the L1 distance of two poses' features
ranks them as their distance in standard deviations does; among positions alone, as the distance in metres.

Legend: W windows, K horizon, A = 7, N tokens, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vjepa_world.evaluation.open_loop.windows import Windows
from vjepa_world.models.context import Context

TOKENS, WIDTH = (4, 4), 256
#: Bounds of an action: 5 cm, about 6 degrees, closure.
REACH = torch.tensor([0.05, 0.05, 0.05, 0.1, 0.1, 0.1, 0.5])


def directions() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(TOKENS[0] * TOKENS[1] * WIDTH, 7, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)


DIRECTIONS = directions()


def features(states: Tensor) -> Tensor:
    """Return `[..., 7]` as `[..., N, D]`."""
    return ((states / REACH) @ DIRECTIONS.T).unflatten(-1, (TOKENS[0] * TOKENS[1], WIDTH))


class PoseModel:
    """An exact model of the world except for a `gain` of the actions' effect and a rotation by `turn_deg` about z."""

    def __init__(self, gain: float = 1.0, turn_deg: float = 0.0) -> None:
        self.action_low, self.action_high = -REACH, REACH.clone()
        self.gain, self.turn = gain, math.radians(turn_deg)

    def encode(self, frames: Tensor, states: Tensor | None) -> Context:
        raise NotImplementedError("contexts are given as features and states")

    def encode_goal(self, frames: Tensor) -> Tensor:
        raise NotImplementedError("goals are given as features")

    def rollout_sequences(self, context: Context, actions: Tensor) -> Tensor:
        """`[B, K, A]` to `[B, K, N, D]`."""
        return self.rollout(context, actions.unsqueeze(1)).squeeze(1)

    def rollout(self, context: Context, actions: Tensor) -> Tensor:
        x, y = actions[..., 0], actions[..., 1]
        turned = actions.clone()
        turned[..., 0] = math.cos(self.turn) * x - math.sin(self.turn) * y
        turned[..., 1] = math.sin(self.turn) * x + math.cos(self.turn) * y
        return features(context.states[:, -1, None, None] + self.gain * turned.cumsum(dim=2))


def pose_windows(count: int = 24, horizon: int = 4, seed: int = 0, share: float = 0.9) -> Windows:
    """Return windows of uniform actions within `share` of the bounds, four per episode."""
    generator = torch.Generator().manual_seed(seed)
    actions = share * REACH * (2 * torch.rand(count, horizon, 7, generator=generator) - 1)
    start = torch.rand(count, 1, 7, generator=generator)
    states = torch.cat([start, start + actions.cumsum(dim=1)], dim=1)
    frames = torch.randint(256, (count, horizon + 1, 3, 32, 32), generator=generator, dtype=torch.uint8)
    return Windows(features(states), states, actions, torch.arange(count) // 4, frames)
