"""Small worlds with known answers, of elementwise operations: exact whatever else is in the batch."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor


class LinearWorld:
    """A double integrator: p' = p + dt v, v' = v + dt a; features are [p, v], one token.

    Frames are not used: a state `[B, 1, 2 n]` is the context.
    """

    def __init__(self, low: list[float], high: list[float], dt_s: float = 0.5) -> None:
        self.action_low = torch.tensor(low)
        self.action_high = torch.tensor(high)
        self.dt_s = dt_s

    def encode(self, frames: Tensor, states: Tensor | None) -> Tensor:
        assert states is not None
        return states[:, -1]

    def encode_goal(self, frames: Tensor) -> Tensor:
        raise NotImplementedError("goals are given as features")

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        batch, samples, steps, size = actions.shape
        position, velocity = (
            part[:, None].expand(batch, samples, size) for part in context.split(size, dim=1)
        )
        predicted = []
        for k in range(steps):
            position = position + self.dt_s * velocity
            velocity = velocity + self.dt_s * actions[:, :, k]
            predicted.append(torch.cat([position, velocity], dim=-1))
        return torch.stack(predicted, dim=2)[:, :, :, None]


#: Stay, right, left, up, down.
MOVES = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])


class PointWorld:
    """A point that moves by its action; features are `weights * position`, N tokens of D channels."""

    action_type = "delta"

    def __init__(self, low: list[float], high: list[float], tokens: int = 3) -> None:
        self.action_low = torch.tensor(low)
        self.action_high = torch.tensor(high)
        self.weights = torch.linspace(0.5, 1.5, tokens)

    def encode(self, frames: Tensor, states: Tensor | None) -> Tensor:
        assert states is not None
        return states[:, -1]

    def encode_goal(self, frames: Tensor) -> Tensor:
        raise NotImplementedError("goals come from `features`")

    def features(self, position: Tensor) -> Tensor:
        """`[..., D]` to `[..., N, D]`."""
        return position[..., None, :] * self.weights[:, None]

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        position = context[:, None]
        predicted = []
        for k in range(actions.shape[2]):
            position = position + actions[:, :, k]
            predicted.append(self.features(position))
        return torch.stack(predicted, dim=2)


class GridWorld(PointWorld):
    """A point on a grid that moves by one of the choices."""

    action_type = "choice"

    def __init__(self, moves: Tensor = MOVES) -> None:
        super().__init__([0.0] * len(moves), [1.0] * len(moves))
        self.moves = moves

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        assert bool(((actions == 0) | (actions == 1)).all() and (actions.sum(dim=-1) == 1).all())
        return self.features(context[:, None, None] + (actions @ self.moves).cumsum(dim=2))


class WatchedWorld(PointWorld):
    """Records the actions that it rolls out, and can be slow."""

    def __init__(self, low: list[float], high: list[float], pause_s: float = 0.0) -> None:
        super().__init__(low, high)
        self.pause_s = pause_s
        self.seen: list[Tensor] = []

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        self.seen.append(actions.detach())
        if self.pause_s:
            time.sleep(self.pause_s)
        return super().rollout(context, actions)


class ActionCost:
    """An energy of the actions only: `cost([..., K, A]) -> [...]`."""

    def __init__(self, cost: Callable[[Tensor], Tensor]) -> None:
        self.cost = cost

    def __call__(self, predicted: Tensor, goal: Tensor, actions: Tensor) -> Tensor:
        return self.cost(actions)


World = TypeVar("World", bound=LinearWorld | PointWorld)


def moved(world: World, to: torch.device | torch.dtype) -> World:
    """Move a world's tensors to a device or a type, and return it."""
    for name, value in list(vars(world).items()):
        if isinstance(value, Tensor):
            setattr(world, name, value.to(to))
    return world


def slow_energy(
    weights: list[float], start: list[float], goal: list[list[float]], plan: list[list[float]]
) -> float:
    """Return `GoalL1` of one sequence in a `PointWorld`, one number at a time: goal `[N, D]`, plan `[K, A]`."""
    position = list(start)
    for action in plan:
        position = [p + a for p, a in zip(position, action, strict=True)]
    distances = [
        abs(w * p - g)
        for w, row in zip(weights, goal, strict=True)
        for p, g in zip(position, row, strict=True)
    ]
    return sum(distances) / len(distances)
