"""Plan with a dynamics model of your own: a pendulum swings up. Only `planners` is needed.

A planner needs three methods and two bounds. What `encode` returns is opaque to it; features are tensors
`[B, S, K, N, D]` of B problems, S samples, K steps, N tokens and D numbers.
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch import Tensor

from planners import CEM, GoalL2, RecedingHorizon, make_generators

DT_S, GRAVITY, LENGTH_M = 0.05, 9.81, 0.5


class Pendulum:
    """State: angle from upright [rad] and its speed [rad/s]; action: torque."""

    action_low = torch.tensor([-3.0])
    action_high = torch.tensor([3.0])

    def step(self, state: Tensor, action: Tensor) -> Tensor:
        """Return the next state `[..., 2]` after a torque `[..., 1]`."""
        angle, speed = state.unbind(dim=-1)
        speed = speed + DT_S * (GRAVITY / LENGTH_M * angle.sin() + 4 * action.squeeze(-1))
        return torch.stack([angle + DT_S * speed, speed], dim=-1)

    def features(self, state: Tensor) -> Tensor:
        """Return one token `[..., 1, 3]`: cosine and sine of the angle, and a small part of the speed."""
        angle, speed = state.unbind(dim=-1)
        return torch.stack([angle.cos(), angle.sin(), 0.1 * speed], dim=-1).unsqueeze(-2)

    def encode(self, frames: Any, states: Any) -> Tensor:
        """Return the context of B problems: here the newest of the states `[B, T, 2]`."""
        return states[:, -1]

    def encode_goal(self, frames: Tensor) -> Tensor:
        """Return the goal's features `[B, N, D]`; here the goal is given as a state `[B, 2]`."""
        return self.features(frames)

    def rollout(self, context: Tensor, actions: Tensor) -> Tensor:
        """Return the features `[B, S, K, N, D]` that actions `[B, S, K, 1]` lead to."""
        state, found = context.unsqueeze(1).expand(*actions.shape[:2], 2), []
        for action in actions.unbind(dim=2):
            state = self.step(state, action)
            found.append(self.features(state))
        return torch.stack(found, dim=2)


parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--steps", type=int, default=80)
arguments = parser.parse_args()

model = Pendulum()
planner = RecedingHorizon(
    CEM(model, energy=GoalL2(discount=1), horizon=20, num_samples=200, num_iterations=4, num_elites=20)
)
state = torch.tensor([[torch.pi, 0.0]])  # hanging down
goal = model.encode_goal(torch.tensor([[0.0, 0.0]]))
generators = make_generators([0])  # one for each problem
for step in range(arguments.steps):
    plan = planner.plan(model.encode(None, state.unsqueeze(1)), goal, generators=generators)
    state = model.step(state, plan.actions[:, 0])
    if step % 10 == 9:
        print(
            f"{(step + 1) * DT_S:.2f} s: {torch.cos(state[0, 0]):+.2f} (1 is upright), energy {plan.energy[0]:.3f}"
        )
